package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// A service keeps accounts in a Redis of its own. In a handler of package saga
// the call is saga.StepFrom(ctx).Call().
func ExampleBarrier() {
	server, err := miniredis.Run() // in a service: its Redis
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	barrier, err := redisstore.OpenBarrier(ctx, redisstore.BarrierConfig{
		Client: client, Namespace: "accounts",
		AcceptUnknownEviction: true, // of the in-process server
	})
	if err != nil {
		log.Fatal(err)
	}

	const credit = `return redis.call('INCRBY', KEYS[1], ARGV[1])`
	const debit = `
		if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then
			return redis.error_reply('FUNDS are insufficient')
		end
		return redis.call('DECRBY', KEYS[1], ARGV[1])`
	account := []string{"account:{anna}"}
	for range 2 {
		balance, err := barrier.Run(ctx, store.Call{Key: "ride-1/1//Credit/1/do"}, credit, account, 2000)
		fmt.Println("credited:", balance, err)
	}
	for range 2 {
		_, err = barrier.Run(ctx, store.Call{Key: "ride-1/1//Credit/1/undo"}, debit, account, 2000)
		fmt.Println("undone:", client.Get(ctx, account[0]).Val(), err)
	}
	_, err = barrier.Run(ctx, store.Call{Key: "ride-1/1//Credit/1/do"}, credit, account, 2000)
	var refused *store.RefusedError
	fmt.Println("refused:", errors.As(err, &refused))
	_, err = barrier.Run(ctx, store.Call{Key: "ride-2/1//Debit/1/do"}, debit, account, 500)
	fmt.Println("the script's error:", redis.HasErrorPrefix(err, "FUNDS"))
	// Output:
	// credited: 2000 <nil>
	// credited: 2000 <nil>
	// undone: 0 <nil>
	// undone: 0 <nil>
	// refused: true
	// the script's error: true
}
