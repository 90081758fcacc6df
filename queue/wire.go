package queue
const typeString = "String"
