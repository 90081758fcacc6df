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
