package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxLines bounds a file: one that is longer holds more than one subject.
const maxLines = 500

// A rule returns a line for each place that breaks it.
type rule func(*tree) []string

// imports holds the packages to the tables arrows and libraries.
func imports(t *tree) (broken []string) {
	for _, dir := range slices.Sorted(maps.Keys(t.files)) {
		ours, listed := allowedArrows(dir)
		if !listed {
			broken = append(broken, fmt.Sprintf("package %s is new: list in arrows_test.go what it may import", dir))
			continue
		}
		for _, file := range t.files[dir] {
			for _, spec := range file.Imports {
				if complaint := checkImport(dir, ours, spec); complaint != "" {
					broken = append(broken, t.at(spec.Pos())+": "+complaint)
				}
			}
		}
	}
	return broken
}

// checkImport returns what is wrong with an import in the package dir, or "".
func checkImport(dir string, ours []string, spec *ast.ImportSpec) string {
	imported, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return err.Error()
	}
	if imported == module {
		return dir + " imports the module's root"
	}
	if rel, ok := strings.CutPrefix(imported, module+"/"); ok {
		if !matchesAny(ours, rel) {
			return fmt.Sprintf("%s imports %s; of ours it may import %s", dir, rel, list(ours))
		}
		return ""
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	users, listed := libraryUsers(imported)
	if !listed {
		return fmt.Sprintf("library %s is new: list in arrows_test.go who may import it", imported)
	}
	if !matchesAny(users, dir) {
		return fmt.Sprintf("%s imports %s, which is for %s", dir, imported, list(users))
	}
	return ""
}

// allowedArrows returns what the most specific pattern for dir allows.
func allowedArrows(dir string) ([]string, bool) {
	best, found := "", false
	for pattern := range arrows {
		if matches(pattern, dir) && (!found || len(pattern) > len(best)) {
			best, found = pattern, true
		}
	}
	return arrows[best], found
}

// libraryUsers returns the packages that the longest matching prefix allows.
func libraryUsers(imported string) ([]string, bool) {
	best := ""
	for prefix := range libraries {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && len(prefix) > len(best) {
			best = prefix
		}
	}
	return libraries[best], best != ""
}

func list(patterns []string) string {
	if len(patterns) == 0 {
		return "nothing but tests"
	}
	return strings.Join(patterns, ", ")
}

// docs asks every public package for a doc.go that holds its package comment.
func docs(t *tree) (broken []string) {
	for _, dir := range slices.Sorted(maps.Keys(t.files)) {
		if !public(dir) || t.isMain(dir) {
			continue
		}
		i := slices.IndexFunc(t.files[dir], func(f *ast.File) bool {
			return path.Base(t.fset.Position(f.Package).Filename) == "doc.go"
		})
		switch {
		case i < 0:
			broken = append(broken, fmt.Sprintf("package %s has no doc.go", dir))
		case !strings.HasPrefix(t.files[dir][i].Doc.Text(), "Package "):
			broken = append(broken, fmt.Sprintf("%s/doc.go has no package comment", dir))
		}
	}
	return broken
}

// sizes bounds the length of files.
func sizes(t *tree) (broken []string) {
	for _, file := range t.all() {
		if n := t.fset.Position(file.FileEnd).Line; n > maxLines {
			broken = append(broken, fmt.Sprintf("%s has %d lines, over %d: split it by subject", t.fset.Position(file.Package).Filename, n, maxLines))
		}
	}
	return broken
}

// inits forbids init functions: an import starts nothing.
func inits(t *tree) (broken []string) {
	for _, file := range t.all() {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				broken = append(broken, t.at(f.Pos())+": an init function; do the work where a caller asks for it")
			}
		}
	}
	return broken
}

// all returns the files of every package, in order.
func (t *tree) all() []*ast.File {
	var files []*ast.File
	for _, dir := range slices.Sorted(maps.Keys(t.files)) {
		files = append(files, t.files[dir]...)
	}
	return files
}
