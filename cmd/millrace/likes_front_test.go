package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/internal/services"
)

// TestLikesAtFronts has two fronts take likes: counts are those of both, and the
// recommender, which is in a third process, learns of them.
func TestLikesAtFronts(t *testing.T) {
	t.Parallel()
	db, cache := databasetest.Start(t, database.PostgreSQL), services.Redis(t)
	c := db.New(t)
	k := &killing{t: t, data: t.TempDir(), binary: buildBinary(t)}
	k.environment = []string{
		"MILLRACE_CATALOG_DRIVER=" + c.Driver, "MILLRACE_CATALOG_DSN=" + string(c.DSN), "MILLRACE_REDIS_ADDRESSES=" + cache.Address,
		"MILLRACE_LIKES_ENABLED=true", "MILLRACE_LIKES_REDIS=redis://" + cache.Address, "MILLRACE_LIKES_LEASE=1s",
	}
	run := func(arguments ...string) (url string) {
		process := k.start(arguments...)
		t.Cleanup(func() {
			_ = process.Process.Kill()
			_ = process.Wait()
		})
		if !k.ready() {
			t.FailNow()
		}
		return k.url
	}
	engine := run()
	if status, body := ask(t, http.MethodPut, engine+"/v1/users/u", `{"age":30}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	fronts := []string{run("--views", "redis"), run("--views", "redis")}
	const n = 30
	for i := range n {
		for _, url := range fronts { // the same like at both
			body := fmt.Sprintf(`{"user_id":"u","content_id":"c%d"}`, i)
			if status, answer := ask(t, http.MethodPost, url+"/recommendation/likes", body); status != http.StatusOK || answer != `{"code":0,"msg":"点赞成功"}` {
				t.Fatalf("%d %s", status, answer)
			}
		}
	}
	if _, answer := ask(t, http.MethodPost, fronts[0]+"/recommendation/likes", `{"user_id":"nobody","content_id":"c"}`); answer != `{"code":1000,"msg":"用户名不存在"}` {
		t.Errorf("of an unknown user: %s", answer)
	}
	out := func(args ...string) string {
		text, err := exec.Command("redis-cli", append([]string{"-u", "redis://" + cache.Address}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	for i := range n {
		waitFor(t, "the count", func() bool { return out("HGET", fmt.Sprint("news_detail:c", i), "likes") == "1" })
	}
	waitFor(t, "the recommender", func() bool {
		_, body := ask(t, http.MethodGet, engine+"/v1/stats", "")
		return strings.Contains(body, fmt.Sprintf(`"total":%d,"duplicates":0,`, n))
	})
	if status, body := ask(t, http.MethodDelete, engine+"/v1/users/u", ""); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	var left int
	if err := databasetest.Open(t, c).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM reactions WHERE user_id = 'u'").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows bear the name of a deleted user, %v", left, err)
	}
}
