package emulator

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// Defaults of [Config].
const (
	DefaultAccount = "000000000000"
	DefaultRegion  = "us-east-1"
	DefaultAddr    = "127.0.0.1:4566"
)

// Bounds on what is read of one request. A batch of SQS carries at most 1 MiB, which escapes may
// swell sixfold in JSON and threefold in a form.
const (
	maxRequestBody = 8 << 20
	maxForm        = 4 << 20
)

// Config says how a [Server] behaves. Its zero value is good.
type Config struct {
	// Account is the account that owns all queues and topics: twelve digits. Defaults to DefaultAccount.
	Account string

	// Region is the region of requests that are not signed. Those that are signed name their own.
	// Defaults to DefaultRegion.
	Region string

	// Clock is the source of time. Defaults to package time.
	Clock Clock

	// NoCooldowns lets a queue be made again at once after it was deleted, and be purged twice in a
	// row. AWS, and the server by default, refuse both for 60 seconds.
	NoCooldowns bool

	// EnforcePolicies has a topic deliver only to queues whose Policy lets it, as AWS does. It reads
	// statements that allow or deny sqs:SendMessage to sns.amazonaws.com or everybody, for a Resource,
	// with conditions on aws:SourceArn and aws:SourceAccount. A statement that says more, or says it
	// otherwise, counts for nothing. Requests are let through in any case. Defaults to deliver to all.
	EnforcePolicies bool

	// Fault is the first fault hook; see [Server.SetFault]. Defaults to none.
	Fault func(Request) Fault

	// Functions are what subscriptions with the protocol lambda deliver to, by their names: the one of
	// "arn:aws:lambda:us-east-1:000000000000:function:audit" is Functions["audit"]. A function that
	// returns an error is called again, as SNS does: three times at once, and then with delays from 1 s
	// to 20 s, for 23 days. It is called from many goroutines at once; its context ends with
	// [Server.Close]. It must not panic. Defaults to none.
	Functions map[string]func(context.Context, Notification) error

	// HTTPClient delivers to subscriptions with the protocols http and https. Defaults to one that waits
	// 15 s for an answer and follows no redirects.
	HTTPClient *http.Client

	// Logger is told what no answer tells: which messages topics could not deliver, and why, and when
	// [Server.KeepFile] cannot save. Defaults to none.
	Logger *slog.Logger
}

// Server is SQS and SNS in one process. It is an [http.Handler] that serves both on one port. All its
// methods may be called from many goroutines at once.
type Server struct {
	account     string
	region      string
	clock       Clock
	noCooldowns bool
	policies    bool
	log         *slog.Logger

	fault    atomic.Pointer[func(Request) Fault]
	counters map[string]*atomic.Int64
	changes  atomic.Int64 // counts what was done to that which is saved, after it was done

	queues  sync.Map // queueKey -> *queue
	deleted sync.Map // queueKey -> time.Time
	making  sync.Mutex
	moves   moves

	topics    sync.Map // topicKey -> *topic
	subs      sync.Map // subscription ARN -> *subscription
	functions map[string]functionEndpoint
	web       *http.Client
	ownWeb    bool // web is not the user's
	couriers  *couriers
}

var accountPattern = regexp.MustCompile(`^[0-9]{12}$`)

// New returns a server without queues and topics. It starts nothing, and only one whose topics deliver to
// functions or over HTTP needs [Server.Close]. New panics if cfg.Account is neither empty nor twelve digits.
func New(cfg Config) *Server {
	s := &Server{
		account:     cfg.Account,
		region:      cfg.Region,
		clock:       cfg.Clock,
		noCooldowns: cfg.NoCooldowns,
		policies:    cfg.EnforcePolicies,
		counters:    newCounters(),
		functions:   make(map[string]functionEndpoint),
		web:         cfg.HTTPClient,
		couriers:    newCouriers(),
		log:         cfg.Logger,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for name, f := range cfg.Functions {
		s.functions[name] = f
	}
	if s.web == nil {
		s.web, s.ownWeb = newHTTPClient(), true
	}
	if s.account == "" {
		s.account = DefaultAccount
	}
	if !accountPattern.MatchString(s.account) {
		panic("emulator: Config.Account must be twelve digits")
	}
	if s.region == "" {
		s.region = DefaultRegion
	}
	if s.clock == nil {
		s.clock = realClock{}
	}
	s.SetFault(cfg.Fault)
	return s
}

// call is one request on its way through the server.
type call struct {
	ctx       context.Context
	requestID string
	region    string
	base      string // scheme and host that the request came by, for the URLs of queues
	signed    bool   // whether the request has a signature, which is not checked
	fault     Fault
}

// response is what a request is answered with.
type response struct {
	status int
	header http.Header
	body   []byte
	drop   bool // close the connection instead
}

// ServeHTTP answers one request of either service.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	resp := s.answer(r, scheme+r.Host)
	if resp.drop {
		panic(http.ErrAbortHandler)
	}
	for name, values := range resp.header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.status)
	_, _ = w.Write(resp.body) // the client may be gone, and that is its own affair
}

// answer serves a request, whatever way it came. Queue URLs in the answer start with base.
func (s *Server) answer(r *http.Request, base string) response {
	c := &call{
		ctx:       r.Context(),
		requestID: uuid.NewString(),
		region:    s.regionOf(r.Header.Get("Authorization")),
		base:      base,
		signed:    r.Header.Get("Authorization") != "" || r.URL.Query().Has("X-Amz-Signature"),
	}
	body, err := readBody(r)
	if r.URL.Path == inspectPath && err == nil {
		return s.answerInspection(c, r, body)
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		if err != nil {
			return c.jsonError(err)
		}
		return s.answerJSON(c, target, body)
	}
	if err != nil {
		return c.xmlError(err, snsNamespace)
	}
	return s.answerQuery(c, r, body)
}

func readBody(r *http.Request) ([]byte, *Error) {
	var body bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= maxRequestBody {
		body.Grow(int(n) + bytes.MinRead) // with room to find the end
	}
	n, err := body.ReadFrom(io.LimitReader(r.Body, maxRequestBody+1))
	if err != nil || n > maxRequestBody {
		return nil, errTooLong(maxRequestBody)
	}
	return body.Bytes(), nil
}

// regionOf returns the region of the credential scope that a request is signed for.
func (s *Server) regionOf(authorization string) string {
	// AWS4-HMAC-SHA256 Credential=KEY/20260102/us-east-1/sqs/aws4_request, SignedHeaders=...
	_, scope, ok := strings.Cut(authorization, "Credential=")
	if !ok {
		return s.region
	}
	scope, _, _ = strings.Cut(scope, ",")
	if parts := strings.Split(scope, "/"); len(parts) == 5 && regionPattern.MatchString(parts[2]) {
		return parts[2]
	}
	return s.region
}

var regionPattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// begin counts a request, asks the fault hook about it, and waits out its delay. It reports what to
// answer if the request ends there.
func (s *Server) begin(c *call, service, operation, resource string) (resp response, err *Error, end bool) {
	n := s.counters[service+"."+operation].Add(1)
	hook := s.fault.Load()
	if hook == nil {
		return response{}, nil, false
	}
	c.fault = (*hook)(Request{
		Service: service, Operation: operation, Region: c.region, Resource: resource, Number: n,
	})
	if c.fault.Delay > 0 && !s.sleep(c) {
		return response{drop: true}, nil, true
	}
	if c.fault.DropRequest {
		return response{drop: true}, nil, true
	}
	return response{}, c.fault.Err, c.fault.Err != nil
}

// sleep waits out the fault's delay, and reports whether the client stayed.
func (s *Server) sleep(c *call) bool {
	done := make(chan struct{})
	stop := s.clock.AfterFunc(c.fault.Delay, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return true
	case <-c.ctx.Done():
		return false
	}
}
