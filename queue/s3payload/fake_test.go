package s3payload_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/waybill-dev/waybill/queue/s3payload"
)

// A fake is a store of objects with nothing but PutObject and GetObject.
type fake struct {
	mu      sync.Mutex
	objects map[string][]byte // by path
	request *http.Request     // the last one
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.request = r
	switch object, ok := f.objects[r.URL.Path]; {
	case r.Method == http.MethodPut:
		if f.objects == nil {
			f.objects = make(map[string][]byte)
		}
		f.objects[r.URL.Path] = body
	case !ok:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
	}
}

// last returns the last request.
func (f *fake) last() *http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.request
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

// newClient returns a client of a store that speaks S3's protocol.
func newClient(url string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:     retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond }),
	})
}

// serve returns a store on a server.
func serve(t *testing.T, h http.Handler, config s3payload.Config) *s3payload.Store {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	config.Client = newClient(server.URL)
	return newStore(t, config)
}

func newStore(t *testing.T, config s3payload.Config) *s3payload.Store {
	t.Helper()
	if config.Bucket == "" {
		config.Bucket = "payloads"
	}
	s, err := s3payload.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
