package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strings"
)

const module = "github.com/waybill-dev/waybill"

// A tree is the module's source without its tests.
type tree struct {
	fset  *token.FileSet
	files map[string][]*ast.File // by the directory below the root
}

// load parses every Go file of the module that is not a test, a test's data or
// a list of tools.
func load(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), files: map[string][]*ast.File{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && ignored(fsys, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(src), "//go:build tools\n") {
			return nil
		}
		file, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		t.files[dir] = append(t.files[dir], file)
		return nil
	})
	return t, err
}

// ignored reports whether the go command leaves a directory out of the module.
func ignored(fsys fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

// at gives the file and line of a position.
func (t *tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	p.Column = 0
	return p.String()
}

// isMain reports whether the package in dir is a program.
func (t *tree) isMain(dir string) bool {
	return t.files[dir][0].Name.Name == "main"
}

// public reports whether users can import the package in dir.
func public(dir string) bool {
	first, _, _ := strings.Cut(dir, "/")
	return first != "cmd" && first != "examples" && !strings.Contains("/"+dir+"/", "/internal/")
}

// matches reports whether a pattern names the package in dir.
func matches(pattern, dir string) bool {
	if pattern == "public" {
		return public(dir)
	}
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(dir+"/", prefix)
	}
	return pattern == dir
}

func matchesAny(patterns []string, dir string) bool {
	for _, p := range patterns {
		if matches(p, dir) {
			return true
		}
	}
	return false
}
