// Package dashboard is the web page at /: live figures, a workbench in which
// a click changes a shopper's recommendations, trending items and the history
// of checkpoints. README.md says how it is made.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"millrace/serve/problem"
)

// Prefix is where everything but the page itself is served.
const Prefix = "/dashboard/"

// policy lets the page load and reach nothing but this server, run no script
// that is not a file, turn no text into markup, and be framed by nobody.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed page
var page embed.FS

// types are the content types, by extension. They are listed here because
// those of package mime depend on the machine.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8",
}

// file is an embedded file as it is served.
type file struct {
	content     []byte
	contentType string
	tag         string // a strong entity tag, quoted
}

// handler serves the files of the page by path.
type handler map[string]file

// Handler answers GET / with the page, and everything under Prefix with what
// the page is made of: all embedded in the program. Files are named without a
// version, so a browser asks each time and is told with 304 that nothing has
// changed. Other paths are a 404.
func Handler() http.Handler {
	h := handler{}
	err := fs.WalkDir(page, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := page.ReadFile(name)
		if err != nil {
			return err
		}
		contentType, ok := types[path.Ext(name)]
		if !ok {
			return fmt.Errorf("no content type for %s", name)
		}
		sum := sha256.Sum256(content)
		at := Prefix + strings.TrimPrefix(name, "page/")
		if at == Prefix+"index.html" {
			at = "/"
		}
		h[at] = file{content, contentType, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("dashboard: %v", err)) // the program was built wrongly, which the tests notice
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		problem.New(http.StatusMethodNotAllowed, "the method %s is not allowed here, but GET, HEAD", problem.Excerpt(r.Method)).
			With("Allow", "GET, HEAD").Write(w)
		return
	}
	f, ok := h[r.URL.Path]
	if !ok {
		problem.New(http.StatusNotFound, "the dashboard has no file %s", problem.Excerpt(r.URL.EscapedPath())).Write(w)
		return
	}
	header := w.Header()
	header.Set("Content-Type", f.contentType)
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
