package dashboard_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"millrace/serve/dashboard"
)

// ask is the answer of the dashboard to a request.
func ask(t *testing.T, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	dashboard.Handler().ServeHTTP(w, r)
	return w
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/dashboard/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/dashboard/style.css", 200, "text/css; charset=utf-8"},
		{"GET", "/dashboard/logo.svg", 200, "image/svg+xml"},
		{"GET", "/dashboard/uplot/uPlot.esm.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/dashboard/uplot/LICENSE", 200, "text/plain; charset=utf-8"},
		{"GET", "/dashboard/", 404, "application/problem+json"},
		{"GET", "/dashboard/index.html", 404, "application/problem+json"},
		{"GET", "/dashboard/uplot", 404, "application/problem+json"},
		{"GET", "/dashboard/../dashboard.go", 404, "application/problem+json"},
		{"GET", "/other", 404, "application/problem+json"},
		{"POST", "/", 405, "application/problem+json"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			r := ask(t, test.method, test.path)
			if r.Code != test.status {
				t.Errorf("status %d, want %d", r.Code, test.status)
			}
			if got := r.Header().Get("Content-Type"); got != test.contentType {
				t.Errorf("content type %q, want %q", got, test.contentType)
			}
			if body := r.Body.String(); (body == "") != (test.method == "HEAD") {
				t.Errorf("a body of %d bytes", len(body))
			}
			if allow := r.Header().Get("Allow"); (allow != "") != (test.status == 405) {
				t.Errorf("Allow is %q", allow)
			}
		})
	}
}

func TestNothingMayBeLoadedFromElsewhere(t *testing.T) {
	r := ask(t, "GET", "/")
	policy := map[string]string{}
	for directive := range strings.SplitSeq(r.Header().Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
		policy[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
		"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'",
	} {
		if policy[name] != want {
			t.Errorf("%s is %q, want %q", name, policy[name], want)
		}
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := r.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	first := ask(t, "GET", "/dashboard/app.js")
	tag := first.Header().Get("ETag")
	if tag == "" || first.Header().Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q", tag, first.Header().Get("Cache-Control"))
	}
	again := ask(t, "GET", "/dashboard/app.js", "If-None-Match", tag)
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("status %d, want 304 without a body", again.Code)
	}
	other := ask(t, "GET", "/dashboard/app.js", "If-None-Match", `"other"`)
	if other.Code != http.StatusOK {
		t.Errorf("status %d for another version, want 200", other.Code)
	}
	if page := ask(t, "GET", "/").Header().Get("ETag"); page == tag {
		t.Errorf("two files have the tag %s", tag)
	}
}

// What the page and its scripts name must be there, and be of this server.
func TestReferencesResolve(t *testing.T) {
	reference := regexp.MustCompile(`(?:src|href)="([^"#]+)"|^import .*?"([^"]+)";`)
	api := map[string]bool{"/openapi.json": true, "/metrics": true}
	for name, text := range sources(t) {
		at := path.Join("/dashboard", name)
		for line := range strings.Lines(text) {
			for _, m := range reference.FindAllStringSubmatch(line, -1) {
				target := m[1] + m[2]
				if !strings.HasPrefix(target, "/") {
					target = path.Join(path.Dir(at), target)
				}
				if !api[target] && ask(t, "GET", target).Code != http.StatusOK {
					t.Errorf("%s names %s, which is not there", name, m[1]+m[2])
				}
			}
		}
	}
}

// The policy would refuse these in a browser; here it is noticed without one.
func TestNoInlineCode(t *testing.T) {
	banned := map[string]*regexp.Regexp{
		"a script in the page":    regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]`),
		"a style in the page":     regexp.MustCompile(`(?i)<style|\sstyle="`),
		"a handler in the page":   regexp.MustCompile(`(?i)\son[a-z]+="`),
		"text turned into markup": regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`),
		"an address elsewhere":    regexp.MustCompile(`https?://[a-z]`),
	}
	for name, text := range sources(t) {
		text = strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "")
		for what, pattern := range banned {
			if found := pattern.FindString(text); found != "" {
				t.Errorf("%s has %s: %q", name, what, found)
			}
		}
	}
}

// sources are the files of the page that are written here, by name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS("page")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(name, "uplot/") {
			return err
		}
		text, err := fs.ReadFile(root, name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
	return files
}

func TestScriptsStaySmall(t *testing.T) {
	for name, text := range sources(t) {
		if lines := strings.Count(text, "\n"); lines >= 300 {
			t.Errorf("%s has %d lines, want fewer than 300", name, lines)
		}
	}
}
