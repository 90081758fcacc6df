//go:build race

package saga_test

// stride is how many calls a sweep goes on from one mishap to the next. The race
// detector makes everything several times slower, and looks for something else:
// each mishap meets a part of the calls, and together they meet all.
const stride = 4
