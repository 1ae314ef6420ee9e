// Command needing prints the tests that need a real system, as a pattern for
// go test -run. They are those that reach, through functions of their package's
// tests, a package that starts systems, or the variable that asks for them; of
// the package that starts them also through its own functions. So there is no
// list to keep, and nothing is run twice that needs none.
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// variable makes tests that need systems run.
const variable = `"MILLRACE_SERVICES"`

func main() {
	starters := flag.String("starters", "", "packages that start systems for tests, by the names that they are used under, with commas between")
	flag.Parse()
	found := map[string]bool{}
	for _, folder := range flag.Args() {
		names, err := tests(folder, strings.Split(*starters, ","))
		if err != nil {
			fmt.Fprintln(os.Stderr, "needing:", err)
			os.Exit(1)
		}
		for _, name := range names {
			found[name] = true
		}
	}
	list := make([]string, 0, len(found))
	for name := range found {
		list = append(list, name)
	}
	slices.Sort(list)
	fmt.Printf("^(%s)$\n", strings.Join(list, "|"))
}

// tests are those of a folder that need a system.
func tests(folder string, starters []string) (names []string, err error) {
	files, err := sources(folder)
	if err != nil {
		return nil, err
	}
	uses, needs := map[string][]string{}, map[string]bool{}
	note := func(name string, in ast.Node) {
		ast.Inspect(in, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				uses[name] = append(uses[name], n.Name)
				needs[name] = needs[name] || slices.Contains(starters, n.Name)
			case *ast.BasicLit:
				needs[name] = needs[name] || n.Value == variable
			}
			return true
		})
	}
	for _, file := range files {
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				note(d.Name.Name, d)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						note(v.Names[0].Name, v)
					}
				}
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for name, used := range uses {
			if !needs[name] && slices.ContainsFunc(used, func(u string) bool { return u != name && needs[u] }) {
				needs[name], changed = true, true
			}
		}
	}
	for name := range uses {
		if needs[name] && strings.HasPrefix(name, "Test") && name != "TestMain" {
			names = append(names, name)
		}
	}
	return names, nil
}

// sources are the files of a folder's tests; of a package that asks for systems
// itself all of its files, as its tests call that directly.
func sources(folder string) ([]*ast.File, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	var own, others []*ast.File
	asks := false
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(path, "_test.go") {
			own = append(own, file)
			continue
		}
		others = append(others, file)
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			asks = asks || ok && literal.Value == variable
			return true
		})
	}
	if asks {
		own = append(own, others...)
	}
	return own, nil
}
