package archtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

var rules = map[string]rule{
	"imports": imports,
	"docs":    docs,
	"sizes":   sizes,
	"inits":   inits,
	"globals": globals,
}

// TestModule holds the module to every rule.
func TestModule(t *testing.T) {
	source, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(source.files) < 2 {
		t.Fatalf("found %d packages: this is not the module's root", len(source.files))
	}
	for name, check := range rules {
		t.Run(name, func(t *testing.T) {
			for _, complaint := range check(source) {
				t.Error(complaint)
			}
		})
	}
}

// TestRules shows each rule a file that breaks it, and one that does not.
func TestRules(t *testing.T) {
	const ours = module + "/"
	tests := []struct {
		name, rule string
		file, src  string
		want       string // a part of the complaint; empty: there is none
	}{
		{"arrow along", "imports", "saga/a.go", `package saga; import _ "` + ours + `store"`, ""},
		{"arrow round", "imports", "store/a.go", `package store; import _ "` + ours + `saga"`, "store/a.go:1: store imports saga; of ours it may import nothing"},
		{"arrow aside", "imports", "pipeline/a.go", `package pipeline; import _ "` + ours + `saga"`, "pipeline imports saga; of ours it may import queue, store"},
		{"binary", "imports", "cmd/waybill/a.go", `package main; import _ "` + ours + `saga"`, ""},
		{"binary's own", "imports", "cmd/waybill/a.go", `package main; import _ "` + ours + `cmd/waybill/internal/x"`, ""},
		{"example's own", "imports", "examples/wildrydes/a.go", `package main; import _ "` + ours + `examples/wildrydes/internal/fare"`, ""},
		{"example of what is internal", "imports", "examples/wildrydes/a.go", `package main; import _ "` + ours + `internal/testserver"`, "examples/wildrydes imports internal/testserver"},
		{"tests' package", "imports", "saga/a.go", `package saga; import _ "` + ours + `internal/testserver"`, "saga imports internal/testserver"},
		{"new package", "imports", "helpers/a.go", `package helpers`, "package helpers is new"},
		{"new package below another", "imports", "store/sqlstore/a.go", `package sqlstore`, "package store/sqlstore is new"},
		{"new library", "imports", "saga/a.go", `package saga; import _ "example.com/x"`, "library example.com/x is new"},
		{"library with an owner", "imports", "store/redisstore/a.go", `package redisstore; import _ "github.com/redis/go-redis/v9"`, ""},
		{"another's library", "imports", "saga/a.go", `package saga; import _ "github.com/redis/go-redis/v9"`, "saga imports github.com/redis/go-redis/v9, which is for store/redisstore"},
		{"SDK in the emulator", "imports", "queue/emulator/a.go", `package emulator; import _ "github.com/aws/aws-sdk-go-v2/service/sqs"`, "queue/emulator imports github.com/aws/aws-sdk-go-v2/service/sqs, which is for queue"},
		{"SDK in the transport", "imports", "queue/a.go", `package queue; import _ "github.com/aws/smithy-go"`, ""},
		{"library whose name begins like another's", "imports", "queue/a.go", `package queue; import _ "github.com/ThreeDotsLabs/watermill-aws/sqs"`, "which is for nothing but tests"},
		{"standard library", "imports", "store/a.go", `package store; import _ "encoding/json"`, ""},
		{"test file", "imports", "store/a_test.go", `package store; import _ "` + ours + `saga"`, ""},
		{"test's data", "imports", "store/testdata/a.go", `package x; import _ "` + ours + `saga"`, ""},

		{"documented", "docs", "store/doc.go", "// Package store keeps.\npackage store", ""},
		{"no doc.go", "docs", "store/a.go", "// Package store keeps.\npackage store", "package store has no doc.go"},
		{"no comment", "docs", "store/doc.go", "package store", "store/doc.go has no package comment"},
		{"internal", "docs", "internal/x/a.go", "package x", ""},

		{"at the limit", "sizes", "store/a.go", "package store" + strings.Repeat("\n", maxLines), ""},
		{"over the limit", "sizes", "store/a.go", "package store" + strings.Repeat("\n", maxLines+1), "store/a.go has 501 lines"},

		{"init", "inits", "store/a.go", "package store\nfunc init() {}", "store/a.go:2: an init function"},
		{"method init", "inits", "store/a.go", "package store\nfunc (s S) init() {}", ""},

		{"zero value", "globals", "store/a.go", "package store\nvar cache map[string]int", "store/a.go:2: cache is state"},
		{"lock", "globals", "store/a.go", "package store\nvar mu = new(sync.Mutex)", "mu is state"},
		{"counter", "globals", "store/a.go", "package store\nvar (\n n = atomic.Int64{}\n)", "n is state"},
		{"pool", "globals", "store/a.go", "package store\nvar pool = sync.Pool{New: nil}", ""},
		{"error", "globals", "store/a.go", "package store\nvar ErrGone = errors.New(`gone`)", ""},
		{"interface check", "globals", "store/a.go", "package store\nvar _ Store = (*S)(nil)", ""},
		{"amid what is imported", "globals", "store/a.go", "package store\nimport `example.com/x`\nvar n = 0\nfunc f(c x.C) { for range c.D(x.E(func() { n = 1 })) {} }", "store/a.go:4: n, a variable of a package, is assigned to"},
		{"constant table", "globals", "store/a.go", "package store\nvar names = map[int]string{}\nfunc f() string { return names[1] }", ""},
		{"table that is filled", "globals", "store/a.go", "package store\nvar cache = map[string]int{}\nfunc f() { cache[`a`] = 1 }", "store/a.go:3: cache, a variable of a package, is assigned to"},
		{"table that is emptied", "globals", "store/a.go", "package store\nvar cache = map[string]int{}\nfunc f() { delete(cache, `a`) }", "cache, a variable of a package, is changed"},
		{"number that is set", "globals", "store/a.go", "package store\nvar n = 0\nfunc f() { if true { n = 1 } }", "n, a variable of a package, is assigned to"},
		{"number that is counted", "globals", "store/a.go", "package store\nvar n = 0\nfunc f() { n++ }", "n, a variable of a package, is assigned to"},
		{"number that a loop sets", "globals", "store/a.go", "package store\nvar n = 0\nfunc f() { for n = range 9 {} }", "n, a variable of a package, is assigned to"},
		{"number beside a local one", "globals", "store/a.go", "package store\nvar n = 0\nfunc f() { n := 1; n = 2; n++; p := &n; _ = p }", ""},
		{"number beside a parameter", "globals", "store/a.go", "package store\nvar n = 0\nfunc f(n int) { n++ }", ""},
		{"number beside a field", "globals", "store/a.go", "package store\nvar n = 0\ntype s struct { n int }\nfunc (s *s) f() { s.n = 1; _ = s{n: 2} }", ""},
		{"field of a variable", "globals", "store/a.go", "package store\nvar s = struct{ n int }{}\nfunc f() { s.n = 1 }", "s, a variable of a package, is assigned to"},
		{"what a variable points to", "globals", "store/a.go", "package store\nvar p = new(int)\nfunc f() { *p = 1 }", "p, a variable of a package, is assigned to"},
		{"address", "globals", "store/a.go", "package store\nvar n = 0\nfunc f() *int { return &n }", "n, a variable of a package, has its address taken"},
		{"address of an element", "globals", "store/a.go", "package store\nvar n = []int{1}\nfunc f() *int { return &n[0] }", "n, a variable of a package, has its address taken"},
		{"method of a pointer", "globals", "store/a.go", "package store\nvar n = c(0)\ntype c int\nfunc (p *c) add() {}\nfunc f() { n.add() }", "n, a variable of a package, has its address taken"},
		{"method of a value", "globals", "store/a.go", "package store\nvar n = c(0)\ntype c int\nfunc (p c) get() {}\nfunc f() { n.get() }", ""},
		{"another package's variable", "globals", "store/a.go", "package store\nimport `net/http`\nfunc f() { http.DefaultClient = nil }", "http.DefaultClient, a variable of a package, is assigned to"},
		{"another package's type", "globals", "store/a.go", "package store\nimport `net/http`\nfunc f() any { return &http.Client{} }", ""},
		{"embedded", "globals", "store/a.go", "package store\n//go:embed a.lua\nvar script string", ""},
	}
	for _, tt := range tests {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			source, err := load(fstest.MapFS{tt.file: {Data: []byte(tt.src)}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(rules[tt.rule](source), "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
		})
	}
}
