package doctor

import (
	"context"
	"encoding/json"
	"net/http"

	"millrace/catalog/database"
	"millrace/cmd/millrace/likes"
	"millrace/outbox"
)

// Likes checks the likes service: its tables and its Redis. The database is
// that of the catalogue, and its topics are checked with Kafka.
func Likes(c likes.Config, of database.Config) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "likes"}
		if of.Driver != database.SQLite {
			s.schema(ctx, "tables of likes", of, outbox.ReadSchema)
		}
		if c.Redis == "" {
			s.say(Warning, "redis", "likes.redis is not set: nothing is counted there")
		} else if err := c.DiagnoseRedis(ctx); err != nil {
			s.say(Failed, "redis", "%v", err)
		} else {
			s.say(OK, "redis", "answers, and runs scripts for keys that begin with %s", c.KeyPrefix)
		}
		return s.list
	}
}

// Engine checks the server that fronts send to what is not for them, and the key
// that they send with it.
func Engine(address, key string) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "engine"}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/v1/stats", nil)
		if err != nil {
			s.say(Failed, address, "%v", err)
			return s.list
		}
		if key != "" {
			request.Header.Set("X-API-Key", key)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			s.say(Failed, address, "%s", webWords(err, "redis.engine"))
			return s.list
		}
		defer response.Body.Close()
		var stats struct {
			Events *json.RawMessage `json:"events"`
		}
		switch err := json.NewDecoder(response.Body).Decode(&stats); {
		case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
			s.say(Failed, address, "it refuses redis.engine_key: set it to one of the engine's api_keys")
		case response.StatusCode == http.StatusServiceUnavailable:
			s.say(Warning, address, "it is starting, or not well: see its health")
		case err != nil || stats.Events == nil:
			s.say(Failed, address, "what answers there is no Millrace server: check redis.engine")
		default:
			s.say(OK, address, "the engine answers")
		}
		return s.list
	}
}
