package archtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// globals forbids variables of packages that only make sense when something
// changes them, those without a value, and locks and counters; and it forbids to
// change any variable of a package: to assign to it or to a part of it, to take
// its address, to delete from it. Embedded files have their value from the
// compiler.
func globals(t *tree) (broken []string) {
	for _, dir := range slices.Sorted(maps.Keys(t.files)) {
		for _, file := range t.files[dir] {
			broken = append(broken, t.state(file)...)
		}
		broken = append(broken, t.changes(dir)...)
	}
	return broken
}

// state returns the variables of a file that are declared to be changed.
func (t *tree) state(file *ast.File) (broken []string) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, s := range gen.Specs {
			spec := s.(*ast.ValueSpec)
			if spec.Names[0].Name == "_" || embedded(gen.Doc) || embedded(spec.Doc) {
				continue
			}
			if len(spec.Values) == 0 || mentionsLock(spec) {
				broken = append(broken, fmt.Sprintf("%s: %s is state of the package; give it to a value that somebody owns", t.at(spec.Pos()), spec.Names[0]))
			}
		}
	}
	return broken
}

// changes returns the places in a package where a variable of a package, its own
// or another's, is changed.
func (t *tree) changes(dir string) (broken []string) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	// What it imports is left out: names are all that is wanted.
	config := types.Config{Importer: nothing{}, FakeImportC: true, Error: func(error) {}}
	pkg, _ := config.Check(dir, t.fset, t.files[dir], info)
	found := func(at ast.Node, expr ast.Expr, verb string) {
		if name := variable(pkg, info, expr); name != "" {
			broken = append(broken, fmt.Sprintf("%s: %s, a variable of a package, %s; give it to a value that somebody owns", t.at(at.Pos()), name, verb))
		}
	}
	for _, file := range t.files[dir] {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					found(n, left, "is assigned to")
				}
			case *ast.IncDecStmt:
				found(n, n.X, "is assigned to")
			case *ast.RangeStmt:
				for _, left := range []ast.Expr{n.Key, n.Value} {
					found(n, left, "is assigned to")
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					found(n, n.X, "has its address taken")
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains([]string{"delete", "clear", "copy"}, f.Name) {
					found(n, n.Args[0], "is changed")
				}
			case *ast.SelectorExpr:
				if s := info.Selections[n]; s != nil && s.Kind() == types.MethodVal && onPointer(s) {
					found(n, n.X, "has its address taken")
				}
			}
			return true
		})
	}
	return broken
}

// variable returns the name of the variable of a package that an expression is,
// or is a part of; "" if it is none.
func variable(pkg *types.Package, info *types.Info, expr ast.Expr) string {
	for {
		switch e := expr.(type) {
		case *ast.Ident:
			if v, ok := info.Uses[e].(*types.Var); ok && v.Parent() == pkg.Scope() {
				return e.Name
			}
			return ""
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok {
				if _, ok := info.Uses[x].(*types.PkgName); ok {
					return x.Name + "." + e.Sel.Name
				}
			}
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.SliceExpr:
			expr = e.X
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		case *ast.TypeAssertExpr:
			expr = e.X
		default:
			return ""
		}
	}
}

// onPointer reports whether a method of a pointer is called on what is none.
func onPointer(s *types.Selection) bool {
	recv := s.Obj().(*types.Func).Signature().Recv()
	_, want := recv.Type().(*types.Pointer)
	_, have := s.Recv().Underlying().(*types.Pointer)
	return want && !have
}

// nothing imports nothing.
type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("left out") }

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// mentionsLock reports whether a variable is of a type of sync or sync/atomic.
// A sync.Pool is no state, and OnceFunc and its like compute a constant.
func mentionsLock(spec *ast.ValueSpec) bool {
	found := false
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && (pkg.Name == "atomic" || pkg.Name == "sync") && n.Sel.Name != "Pool" && !strings.HasPrefix(n.Sel.Name, "OnceValue") {
				found = true
			}
		}
		return true
	}
	if spec.Type != nil {
		ast.Inspect(spec.Type, look)
	}
	for _, v := range spec.Values {
		ast.Inspect(v, look)
	}
	return found
}
