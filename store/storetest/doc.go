// Package storetest holds the suite that every store passes, and a store that
// fails on demand.
package storetest
