// Package localstack holds the scripts that LocalStack runs at its start-up, and
// the tests that check them. There is nothing in it to import.
package localstack
