// Command needing prints the tests that need a real system, as a pattern for
// go test -run. They are those that reach, through functions of their package's
// tests, a package that starts systems, or the variable that asks for them. So
// there is no list to keep, and nothing is run twice that needs none.
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
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		return nil, err
	}
	uses, needs := map[string][]string{}, map[string]bool{}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range tree.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					uses[f.Name.Name] = append(uses[f.Name.Name], n.Name)
					needs[f.Name.Name] = needs[f.Name.Name] || slices.Contains(starters, n.Name)
				case *ast.BasicLit:
					needs[f.Name.Name] = needs[f.Name.Name] || n.Value == variable
				}
				return true
			})
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
