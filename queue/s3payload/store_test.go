package s3payload_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/internal/payloadtest"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/s3payload"
)

// TestConformance holds the store to the suite that all stores pass.
func TestConformance(t *testing.T) {
	t.Run("fake", func(t *testing.T) { payloadtest.Test(t, serve(t, new(fake), s3payload.Config{})) })
	if url, ok := testserver.Moto(t); ok {
		t.Run("moto", func(t *testing.T) { payloadtest.Test(t, newStore(t, bucket(t, url))) })
	}
}

// bucket makes a bucket.
func bucket(t *testing.T, url string) s3payload.Config {
	t.Helper()
	c := s3payload.Config{Client: newClient(url), Bucket: strings.ToLower(testserver.Namespace(t))}
	if _, err := c.Client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &c.Bucket}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRequests holds that requests are such as every store takes, and carry what
// the configuration says.
func TestRequests(t *testing.T) {
	f := new(fake)
	s := serve(t, f, s3payload.Config{Prefix: "p/", Owner: "111122223333", KMSKey: "alias/payloads"})
	if err := s.Put(t.Context(), "k", []byte("hello"), time.Hour); err != nil {
		t.Fatal(err)
	}
	r := f.last()
	for name, want := range map[string]string{
		"Content-Md5":                                 "XUFAKrxLKna5cZ2REBfFkg==",
		"Content-Encoding":                            "",
		"X-Amz-Trailer":                               "",
		"X-Amz-Sdk-Checksum-Algorithm":                "",
		"X-Amz-Checksum-Crc32":                        "",
		"X-Amz-Server-Side-Encryption":                "aws:kms",
		"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "alias/payloads",
		"X-Amz-Expected-Bucket-Owner":                 "111122223333",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("put with %s: %q; want %q", name, got, want)
		}
	}
	if r.URL.Path != "/payloads/p/k" || r.ContentLength != 5 || len(r.TransferEncoding) != 0 {
		t.Errorf("put %s of %d bytes %v", r.URL.Path, r.ContentLength, r.TransferEncoding)
	}
	if _, err := s.Get(t.Context(), "k", 7); err != nil {
		t.Fatal(err)
	}
	r = f.last()
	if r.Header.Get("Range") != "bytes=0-7" || r.Header.Get("X-Amz-Checksum-Mode") != "" || r.Header.Get("X-Amz-Expected-Bucket-Owner") != "111122223333" {
		t.Errorf("get with %v", r.Header)
	}
}

// TestKeep holds that a payload is refused which the bucket would delete too soon.
func TestKeep(t *testing.T) {
	s := serve(t, new(fake), s3payload.Config{ExpireDays: 2})
	if err := s.Put(t.Context(), "k", []byte("x"), 48*time.Hour); err != nil {
		t.Error(err)
	}
	if err := s.Put(t.Context(), "k", []byte("x"), 48*time.Hour+1); !errors.Is(err, queue.ErrConfiguration) || !strings.Contains(err.Error(), "payloads.expire_days") {
		t.Errorf("kept for longer: %v", err)
	}
	s = serve(t, new(fake), s3payload.Config{})
	if err := s.Put(t.Context(), "k", []byte("x"), 2*14*24*time.Hour+queue.MaxDelay); err != nil {
		t.Errorf("the longest that a publisher asks for: %v", err)
	}
}

// TestRefusals holds that only an object that is not there is a payload that is
// gone, and that what passes is tried again.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		gone   bool
		calls  int32
	}{
		{http.StatusNotFound, "NoSuchKey", true, 1},
		{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", true, 1},
		{http.StatusNotFound, "NoSuchBucket", false, 1},
		{http.StatusNotFound, "", false, 1},
		{http.StatusForbidden, "AccessDenied", false, 1},
		{http.StatusServiceUnavailable, "SlowDown", false, 3},
		{http.StatusInternalServerError, "InternalError", false, 3},
	} {
		t.Run(tt.code, func(t *testing.T) {
			var calls atomic.Int32
			s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				refuse(w, tt.status, tt.code)
			}), s3payload.Config{})
			_, err := s.Get(t.Context(), "k", 10)
			if err == nil || errors.Is(err, queue.ErrPayloadGone) != tt.gone || calls.Load() != tt.calls {
				t.Errorf("%v after %d calls; want gone %v after %d", err, calls.Load(), tt.gone, tt.calls)
			}
			if !strings.Contains(err.Error(), "s3://payloads/waybill/payload/k") {
				t.Errorf("%v does not name the object", err)
			}
			if err := s.Put(t.Context(), "k", []byte("x"), time.Hour); err == nil || errors.Is(err, queue.ErrConfiguration) != (tt.code == "NoSuchBucket") {
				t.Errorf("put: %v", err)
			}
		})
	}
	t.Run("passes", func(t *testing.T) {
		var calls atomic.Int32
		f := new(fake)
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1)%3 != 0 {
				refuse(w, http.StatusServiceUnavailable, "SlowDown")
				return
			}
			f.ServeHTTP(w, r)
		}), s3payload.Config{})
		if err := s.Put(t.Context(), "k", []byte("x"), time.Hour); err != nil {
			t.Error(err)
		}
		if got, err := s.Get(t.Context(), "k", 1); err != nil || string(got) != "x" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestBodies holds that no more is read than the limit and a byte, that a body
// which breaks off is no payload, and that a slow one ends with its context.
func TestBodies(t *testing.T) {
	get := func(t *testing.T, answer http.HandlerFunc, limit int) error {
		t.Helper()
		got, err := serve(t, answer, s3payload.Config{}).Get(t.Context(), "k", limit)
		if err == nil || errors.Is(err, queue.ErrPayloadGone) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		return err
	}
	t.Run("cut", func(t *testing.T) {
		err := get(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(make([]byte, 50))
		}, 100)
		if errors.Is(err, queue.ErrTooLarge) {
			t.Error(err)
		}
	})
	t.Run("cut chunks", func(t *testing.T) {
		get(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 50))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 100)
	})
	t.Run("said to be large", func(t *testing.T) {
		err := get(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000000000")
			_, _ = w.Write(make([]byte, 50))
		}, 100)
		if !errors.Is(err, queue.ErrTooLarge) {
			t.Error(err)
		}
	})
	t.Run("endless", func(t *testing.T) {
		err := get(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, 100<<10)
		if !errors.Is(err, queue.ErrTooLarge) {
			t.Error(err)
		}
	})
	t.Run("slow", func(t *testing.T) {
		begun := make(chan struct{})
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(make([]byte, 50))
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-r.Context().Done()
		}), s3payload.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; cancel() }()
		if _, err := s.Get(ctx, "k", 100); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestMessage holds that a message whose payload is in a bucket is delivered
// whole, and is undecodable once the payload is gone.
func TestMessage(t *testing.T) {
	f := new(fake)
	s := serve(t, f, s3payload.Config{})
	e := emulator.New(emulator.Config{})
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://emulator.test"), HTTPClient: e.Client(),
		Credentials: newClient("http://emulator.test").Options().Credentials,
	}
	if _, err := sqs.NewFromConfig(cfg).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")}); err != nil {
		t.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Payloads: s, ClaimAbove: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Payloads: s, DeliverUndecodable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	messages, err := sub.Subscribe(t.Context(), "sqs://q")
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []bool{false, true} {
		want := message.NewMessage("u", bytes.Repeat([]byte("\x00"), 2<<20))
		if gone {
			want.Payload[0] = 1
			s = serve(t, new(fake), s3payload.Config{})
			other, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Payloads: s, ClaimAbove: 1000})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			pub = other
		}
		if err := pub.Publish("sqs://q", want); err != nil {
			t.Fatal(err)
		}
		got := <-messages
		d := queue.FromContext(got.Context())
		if gone != errors.Is(d.Undecodable, queue.ErrPayloadGone) || !gone && !got.Equals(want) {
			t.Errorf("gone %v: %d bytes, %v", gone, len(got.Payload), d.Undecodable)
		}
		got.Ack()
	}
}

// TestConfig holds what a store wants.
func TestConfig(t *testing.T) {
	c := newClient("http://127.0.0.1:1")
	for want, config := range map[string]s3payload.Config{
		"Client":     {Bucket: "b"},
		"Bucket":     {Client: c},
		"Prefix":     {Client: c, Bucket: "b", Prefix: "/p"},
		"ExpireDays": {Client: c, Bucket: "b", ExpireDays: -1},
	} {
		if _, err := s3payload.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error about %s", err, want)
		}
	}
}
