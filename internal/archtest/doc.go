// Package archtest holds the module to its architecture: which package may
// import which, who may use which library, and a few rules of the house that
// no linter knows. It has tests alone.
//
// A new package or library fails the tests until arrows_test.go lists it, so
// that a new arrow is always somebody's decision.
package archtest
