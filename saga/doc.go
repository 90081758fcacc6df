// Package saga runs sagas: steps that change things in several places, and
// that are undone in reverse order when one of them fails for good.
package saga
