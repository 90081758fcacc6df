package redisstore_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// startCluster starts a Redis Cluster of some nodes and returns a client.
func startCluster(t *testing.T, nodes int) *redis.ClusterClient {
	t.Helper()
	if !testserver.HasRedisServer() {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not on the PATH, and CI=true requires every server")
		}
		t.Skip("redis-server is not on the PATH")
	}
	ctx := t.Context()
	var addrs, bus []string
	for range nodes {
		port := freePort(t)
		bus = append(bus, port)
		// A short timeout, and no replicas to be had.
		addrs = append(addrs, testserver.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", port,
			"--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000"))
	}
	const slots = 16384
	for i, addr := range addrs {
		node := dial(t, addr)
		first, last := slots*i/nodes, slots*(i+1)/nodes-1
		if err := node.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			t.Fatal(err)
		}
		if err := node.Do(ctx, "config", "set", "cluster-require-full-coverage", "no").Err(); err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(addrs[0])
		if i > 0 {
			if err := node.Do(ctx, "cluster", "meet", host, port, bus[0]).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, addr := range addrs {
		node := dial(t, addr)
		for known := 0; known < nodes; {
			shards, err := node.ClusterShards(ctx).Result()
			if err != nil {
				t.Fatalf("node %d: %v", i, err)
			}
			known = 0
			for _, shard := range shards {
				known += len(shard.Slots)
			}
			if known < nodes {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// go-workflows does not work on Redis Cluster, whose nodes refuse a script that
// touches keys of several slots, or one that it was not given. The whole suite
// runs on a real one.
func TestPeersNotOnCluster(t *testing.T) {
	client := startCluster(t, 3)
	storetest.Run(t, storetest.Harness{New: func(t *testing.T) storetest.Subject {
		st, err := redisstore.Open(t.Context(), redisstore.Config{Client: client, Namespace: testserver.Namespace(t)})
		if err != nil {
			t.Fatal(err)
		}
		return storetest.Subject{Store: st, Advance: time.Sleep}
	}})
	t.Run("every node has some", func(t *testing.T) {
		namespace := testserver.Namespace(t)
		st, err := redisstore.Open(t.Context(), redisstore.Config{Client: client, Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := st.Start(t.Context(), store.StartRequest{ID: strconv.Itoa(i), Match: "m", Index: "running", Commit: "c0"}); err != nil {
				t.Fatal(err)
			}
		}
		var nodes atomic.Int64
		if err := client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
			keys, err := node.Keys(ctx, namespace+":*:x:*").Result()
			if err == nil && len(keys) < 10 {
				t.Errorf("%s has %d of 100 executions", node, len(keys))
			}
			nodes.Add(1)
			return err
		}); err != nil || nodes.Load() != 3 {
			t.Errorf("%d nodes, %v", nodes.Load(), err)
		}
	})
}
