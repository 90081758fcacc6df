package redisstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// A program gives its own client, and goes on where another one died.
func Example() {
	server, err := miniredis.Run() // in a program: its Redis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	ctx := context.Background()
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{server.Addr()}})
	defer client.Close()
	st, err := redisstore.Open(ctx, redisstore.Config{
		Client:    client,
		Namespace: "prod",
		// The in-process server does not show its policy. A real one does.
		AcceptUnknownEviction: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = st.Start(ctx, store.StartRequest{
		ID: "ride-1", Match: "fare@v1 9f86d081", Status: "running", Index: "fare",
		Root: []byte("RegisterFare"), Commit: "c0",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	due, err := st.Due(ctx, []int{st.Partition("ride-1")}, 10, time.Minute)
	fmt.Println("due:", due, err)

	opening, err := st.Open(ctx, store.OpenRequest{ID: "ride-1", Nonce: "worker-a", Lease: 30 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	done, err := st.Commit(ctx, &store.Commit{
		Lease: opening.Lease, Previous: opening.Commit, CommitID: "c1", Absorbed: opening.Read,
		Status: "succeeded", Next: store.End, Wake: opening.Now.Add(24 * time.Hour),
	})
	fmt.Println("applied:", done.Applied, err)

	_, err = st.Open(ctx, store.OpenRequest{ID: "ride-1", Nonce: "worker-b", Lease: 30 * time.Second})
	fmt.Println(err)

	// Output:
	// due: [ride-1] <nil>
	// applied: true <nil>
	// open "ride-1": execution has ended
}
