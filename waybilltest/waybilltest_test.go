package waybilltest_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/waybilltest"
)

func TestStart(t *testing.T) {
	stack := waybilltest.Start(t)
	endpoints, err := queue.NewEndpoints("test", queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
	if err != nil {
		t.Fatal(err)
	}
	stack.Apply(t, endpoints)
	messages, err := stack.Subscriber(t, endpoints).Subscribe(t.Context(), "fares")
	if err != nil {
		t.Fatal(err)
	}
	if err := stack.Publisher(t, endpoints).Publish("fares", message.NewMessage("1", message.Payload("hello"))); err != nil {
		t.Fatal(err)
	}
	msg := <-messages
	if string(msg.Payload) != "hello" {
		t.Errorf("received %q, want hello", msg.Payload)
	}
	msg.Ack()
}

func TestStoreWorks(t *testing.T) {
	stack := waybilltest.Start(t)
	if _, err := stack.Store.Get(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), store.ErrNotFound.Error()) {
		t.Errorf("error %v, want %v", err, store.ErrNotFound)
	}
	if err := stack.Redis.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Error(err)
	}
}

func TestBusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().String()
	for name, cfg := range map[string]waybilltest.Config{"aws": {AWSAddr: busy}, "redis": {RedisAddr: busy}} {
		t.Run(name, func(t *testing.T) {
			s, err := waybilltest.Open(context.Background(), cfg)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), busy) {
				t.Errorf("error %q does not name the port %s", err, busy)
			}
		})
	}
}
