//go:build !race

package saga_test

// stride is how many calls a sweep goes on from one mishap to the next: none is
// left out.
const stride = 1
