package memstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// One worker starts an execution, commits a step and parks it. Mail makes it
// due, and another worker goes on.
func Example() {
	ctx := context.Background()
	st := memstore.New(memstore.Config{})

	started, err := st.Start(ctx, store.StartRequest{
		ID: "ride-1", Match: "fare@v1 9f86d081", Status: "running", Index: "fare",
		Root: []byte("RegisterFare"), Commit: "c0",
		Nonce: "worker-a", Lease: 30 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	lease := store.Lease{ID: "ride-1", Epoch: 1, Nonce: "worker-a"}
	_, err = st.Commit(ctx, &store.Commit{
		Lease: lease, Previous: "c0", CommitID: "c1",
		Set:  map[string][]byte{store.RootFrame: []byte("ProcessPayment")},
		Next: store.Park, Wake: started.Now.Add(time.Hour),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = st.Open(ctx, store.OpenRequest{ID: "ride-1", Nonce: "worker-b", Lease: 30 * time.Second})
	fmt.Println(err)

	_, err = st.Post(ctx, store.PostRequest{ID: "ride-1", MailID: "m1", Body: []byte("charged"), Limit: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	opening, err := st.Open(ctx, store.OpenRequest{ID: "ride-1", Nonce: "worker-b", Lease: 30 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("at %s with mail %q\n", opening.Root, opening.Mail)

	// Output:
	// execution "ride-1" has nothing due
	// at ProcessPayment with mail ["charged"]
}
