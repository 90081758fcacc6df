package testserver_test

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
)

// A redis-server of one's own has the options that it was given, and is gone
// after the test.
func TestStartRedis(t *testing.T) {
	if !testserver.HasRedisServer() {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not on the PATH, and CI=true requires every server")
		}
		t.Skip("redis-server is not on the PATH")
	}
	var client *redis.Client
	t.Run("up", func(t *testing.T) {
		client = redis.NewClient(&redis.Options{Addr: testserver.StartRedis(t, "--appendonly", "yes"), MaxRetries: -1})
		for name, want := range map[string]string{"appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""} {
			got, err := client.ConfigGet(t.Context(), name).Result()
			if err != nil || got[name] != want {
				t.Errorf("%s is %q, %v, want %q", name, got[name], err, want)
			}
		}
	})
	defer client.Close()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("it is still there")
	}
}

// In CI no test is left out for want of a redis-server.
func TestHasRedisServerInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for ci, want := range map[string]bool{"": false, "true": true} {
		t.Setenv("CI", ci)
		if got := testserver.HasRedisServer(); got != want {
			t.Errorf("CI=%q: %t, want %t", ci, got, want)
		}
	}
}
