package dlq_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// A watch runs a watcher in a bubble, and collects its notices.
type watch struct {
	*dlq.Watcher
	t    *testing.T
	stop func() error

	mu      sync.Mutex
	notices []dlq.Notice
}

func (s *server) watch(t *testing.T, c *dlq.Client, config dlq.WatchConfig) *watch {
	t.Helper()
	w := &watch{t: t}
	config.OnNotice = func(n dlq.Notice) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notices = append(w.notices, n)
	}
	var err error
	if w.Watcher, err = c.NewWatcher(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = func() error { cancel(); return <-done }
	t.Cleanup(cancel)
	return w
}

// since returns the notices that were made after the last call, in short.
func (w *watch) since() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	short := []string{}
	for _, n := range w.notices {
		name := n.Queue[strings.LastIndexByte(n.Queue, '-')+1:]
		if n.Queue == "" {
			name = "all"
		}
		short = append(short, fmt.Sprintf("%s %s %s %d", name, n.Alarm, n.Event, n.Value))
	}
	w.notices = nil
	return short
}

func (w *watch) expect(what string, want ...string) {
	w.t.Helper()
	if got := w.since(); !slices.Equal(got, append([]string{}, want...)) {
		w.t.Errorf("%s: notices %q, want %q", what, got, want)
	}
}

func (s *server) purge(name string) {
	s.Helper()
	if _, err := s.sqs.PurgeQueue(s.Context(), &sqs.PurgeQueueInput{QueueUrl: s.url(name)}); err != nil {
		s.Fatal(err)
	}
}

// sendMany sends n messages.
func (s *server) sendMany(name string, n int) {
	s.Helper()
	s.send(name, slices.Repeat([]string{"{}"}, n)...)
}

// pass lets time pass, and what is done at its end be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const interval = dlq.DefaultWatchInterval

func TestWatchDepth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("fares", "dlq", 3)
		w := s.watch(t, s.client(), dlq.WatchConfig{Limits: dlq.Limits{Depth: 10}})
		w.expect("nothing is there")
		s.sendMany("dlq", 9)
		pass(5 * interval)
		w.expect("below the upper bound")
		s.sendMany("dlq", 1)
		pass(interval)
		w.expect("after one reading")
		pass(interval)
		w.expect("after two", "dlq depth raised 10")
		if st := w.Status(); len(st.Queues) != 1 || !slices.Equal(st.Queues[0].Alarms, []dlq.AlarmKind{dlq.AlarmDepth}) || st.Queues[0].Depth != 10 || st.Polls != 8 || st.LastSuccess.IsZero() {
			t.Errorf("its status is %+v", st)
		}
		pass(20 * interval)
		w.expect("it is said once")

		// What receivers have in hand is there all the same.
		if _, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("dlq"), MaxNumberOfMessages: 10, VisibilityTimeout: 600}); err != nil {
			t.Fatal(err)
		}
		pass(10 * interval)
		w.expect("in flight")

		s.purge("dlq")
		s.sendMany("dlq", 5)
		pass(10 * interval)
		w.expect("at the lower bound")
		s.purge("dlq")
		pass(2 * interval)
		w.expect("after two readings below it")
		s.sendMany("dlq", 5)
		pass(interval)
		s.purge("dlq")
		pass(2 * interval)
		w.expect("the row began anew")
		pass(interval)
		w.expect("after three in a row", "dlq depth cleared 0")
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestWatchGrowth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("fares", "dlq", 3)
		s.sendMany("dlq", 100)
		w := s.watch(t, s.client(), dlq.WatchConfig{Limits: dlq.Limits{Depth: -1, Growth: 20, Window: 4 * interval}})
		pass(10 * interval)
		w.expect("however deep it is")
		for range 20 { // slowly: 16 a window
			s.sendMany("dlq", 4)
			pass(interval)
		}
		w.expect("slowly")
		for range 5 { // 18, 20, and 22, which is the second at the bound
			s.sendMany("dlq", 6)
			pass(interval)
		}
		w.expect("fast", "dlq growth raised 22")
		pass(20 * interval)
		w.expect("it has come to rest", "dlq growth cleared 0")
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

// What cannot be read is said, and clears nothing.
func TestWatchUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("fares", "dlq", 3)
		s.sendMany("dlq", 5)
		w := s.watch(t, s.client(), dlq.WatchConfig{})
		pass(2 * interval)
		w.expect("at first", "dlq depth raised 5")

		// A queue that may not be read.
		s.faulty(func(op, name string, _ int64) (f emulator.Fault) {
			if op == "GetQueueAttributes" && name == "dlq" {
				f.Err = &emulator.Error{Code: "AccessDenied", Status: 403, Message: "not yours"}
			}
			return f
		})
		pass(2 * interval)
		w.expect("it could not be read twice")
		pass(10 * interval)
		if n := w.notices; len(n) != 1 || !strings.Contains(n[0].Error, "not yours") || n[0].Depth != 5 {
			t.Errorf("the notices are %+v", n)
		}
		w.expect("then", "dlq unreadable raised 3")
		if st := w.Status().Queues[0]; len(st.Alarms) != 2 || st.Errors != 12 || time.Since(st.LastSuccess) < 10*interval {
			t.Errorf("its status is %+v", st)
		}
		s.emulator.SetFault(nil)
		pass(interval)
		w.expect("it is back", "dlq unreadable cleared 0")

		// A service that is gone: the SDK's own retries take their time.
		s.faulty(func(string, string, int64) emulator.Fault { return emulator.Fault{DropRequest: true} })
		pass(time.Hour)
		got := w.since()
		slices.Sort(got)
		if !slices.Equal(got, []string{"all unreadable raised 3", "dlq unreadable raised 3"}) {
			t.Errorf("of a service that is gone: %q", got)
		}
		s.emulator.SetFault(nil)
		pass(5 * time.Minute)
		got = w.since()
		slices.Sort(got)
		if !slices.Equal(got, []string{"all unreadable cleared 0", "dlq unreadable cleared 0"}) {
			t.Errorf("of a service that is back: %q", got)
		}

		// A queue that vanishes, and comes back.
		url := s.url("dlq")
		if _, err := s.sqs.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: url}); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		w.expect("it has vanished", "dlq unreadable raised 3")
		s.queue("dlq", "", 0)
		pass(interval)
		w.expect("it is back", "dlq unreadable cleared 0")
		pass(3 * interval)
		w.expect("and empty", "dlq depth cleared 0")
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

// Queues that come later are found, limits of one are its own, and an alarm that
// stands is told again.
func TestWatchAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("fares", "dlq", 3)
		s.sendMany("dlq", 5)
		rides := queue.Endpoint{Name: "rides", URL: "sqs://rides", DeadLetter: "sqs://late"}
		w := s.watch(t, s.client(rides), dlq.WatchConfig{
			Limits: dlq.Limits{Depth: 5, RaiseAfter: 1}, ByQueue: map[string]dlq.Limits{"rides": {Depth: 2}}, Remind: time.Hour,
		})
		pass(90 * time.Second)
		w.expect("at first", "dlq depth raised 5", "late unreadable raised 3") // it is configured, and not there
		s.queue("late", "", 0)
		s.queue("rides", "late", 3)
		s.sendMany("late", 2)
		pass(dlq.DefaultDiscover)
		w.expect("later", "late unreadable cleared 0", "late depth raised 2")
		s.queue("other", "", 0)
		s.queue("tips", "other", 3)
		s.sendMany("other", 5)
		pass(dlq.DefaultDiscover)
		w.expect("another", "other depth raised 5")
		pass(time.Hour)
		got := w.since()
		slices.Sort(got)
		if want := []string{"dlq depth still 5", "late depth still 2", "other depth still 5"}; !slices.Equal(got, want) {
			t.Errorf("an hour later: %q, want %q", got, want)
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestWatchNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("other", "", 0)
		s.queue("fares", "dlq", 3)
		s.sendMany("other", 1)
		before := s.emulator.Requests()["ListQueues"]
		w := s.watch(t, s.client(), dlq.WatchConfig{Queues: []string{"dlq"}, ByQueue: map[string]dlq.Limits{"dlq": {Depth: 3}}})
		s.sendMany("dlq", 3)
		pass(time.Hour)
		w.expect("of the one alone", "dlq depth raised 3")
		if n := s.emulator.Requests()["ListQueues"] - before; n != 0 {
			t.Errorf("%d lists of all queues", n)
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		w = s.watch(t, s.client(), dlq.WatchConfig{Queues: []string{"none"}})
		synctest.Wait()
		if err := w.stop(); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("a queue that is not there is %v", err)
		}

		// A service that is gone when it starts.
		s.faulty(func(string, string, int64) emulator.Fault { return emulator.Fault{Err: errInternal} })
		w = s.watch(t, s.client(), dlq.WatchConfig{Queues: []string{"dlq"}})
		pass(time.Hour)
		w.expect("the service is gone", "dlq unreadable raised 3")
		s.emulator.SetFault(nil)
		pass(5 * time.Minute)
		w.expect("and back", "dlq unreadable cleared 0", "dlq depth raised 3")
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A failing is a publisher that fails so often.
type failing struct {
	mu    sync.Mutex
	fails int
	ids   []string // of those that were published
	tries int
}

func (f *failing) Publish(_ string, messages ...*message.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries++
	if f.fails > 0 {
		f.fails--
		return errors.New("the topic is gone")
	}
	for _, m := range messages {
		f.ids = append(f.ids, m.UUID+" "+m.Metadata["event"])
	}
	return nil
}

func (f *failing) Close() error { return nil }

// A notice that cannot be published is tried again until it is out, and then no
// more; those behind it keep their order.
func TestWatchPublishesUntilItIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("fares", "dlq", 3)
		s.sendMany("dlq", 1)
		p := &failing{fails: 12}
		w := s.watch(t, s.client(), dlq.WatchConfig{Publisher: p, Endpoint: "alarms"})
		pass(2 * interval)
		s.purge("dlq")
		pass(4 * interval)
		w.expect("made", "dlq depth raised 1", "dlq depth cleared 0")
		if st := w.Status(); st.Pending != 2 || st.Sent != 0 || st.Failed == 0 {
			t.Errorf("while the topic is gone: %+v", st)
		}
		pass(time.Hour)
		if st := w.Status(); st.Pending != 0 || st.Sent != 2 || st.Failed != 12 {
			t.Errorf("when it is back: %+v", st)
		}
		if len(p.ids) != 2 || !strings.HasSuffix(p.ids[0], "raised") || !strings.HasSuffix(p.ids[1], "cleared") {
			t.Errorf("published was %q", p.ids)
		}
		// What is left when it is stopped is tried once more, and else said.
		s.sendMany("dlq", 1)
		p.mu.Lock()
		p.fails = 1e6
		p.mu.Unlock()
		pass(3 * interval)
		if err := w.stop(); err == nil || !strings.Contains(err.Error(), `1 notices could not be published to "alarms": the topic is gone`) {
			t.Errorf("stopped, it says %v", err)
		}
	})
}

// A notice goes to a topic, and from there to a queue.
func TestWatchToATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("dlq", "", 0)
		s.queue("fares", "dlq", 3)
		s.queue("pager", "", 0)
		s.sendMany("dlq", 2)
		topics := sns.NewFromConfig(s.aws)
		topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(s.full("alarms"))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{
			TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(s.attribute("pager", "QueueArn")),
			Attributes: map[string]string{"RawMessageDelivery": "true", "FilterPolicy": `{"event":["raised"]}`},
		}); err != nil {
			t.Fatal(err)
		}
		set, err := queue.NewEndpoints(s.ns, queue.Endpoint{Name: "alarms", URL: "sns://alarms"})
		if err != nil {
			t.Fatal(err)
		}
		pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Endpoints: set})
		if err != nil {
			t.Fatal(err)
		}
		defer pub.Close()
		w := s.watch(t, s.client(), dlq.WatchConfig{Queues: []string{"dlq"}, Publisher: pub, Endpoint: "alarms"})
		pass(2 * interval)
		s.purge("dlq")
		pass(4 * interval)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		got := s.take("pager")
		if len(got) != 1 {
			t.Fatalf("the queue got %d messages", len(got))
		}
		var n dlq.Notice
		if err := json.Unmarshal([]byte(got[0].body), &n); err != nil {
			t.Fatal(err)
		}
		if n.Version != 1 || n.Event != dlq.EventRaised || n.Alarm != dlq.AlarmDepth || n.Queue != s.full("dlq") || n.URL != *s.url("dlq") || n.Value != 2 || n.High != 1 || n.Low != 1 || n.Since.IsZero() {
			t.Errorf("the notice is %s", got[0].body)
		}
		if got[0].attributes["queue"] != s.full("dlq") || got[0].attributes["alarm"] != "depth" || got[0].uuid() == "" {
			t.Errorf("its attributes are %v", got[0].attributes)
		}
	})
}

// On a FIFO endpoint, the notices of a queue come in order. When there is no more
// time, it is told how many are not out.
func TestWatchToAFIFOQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 3)
		if _, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.full("pager.fifo")), Attributes: map[string]string{"FifoQueue": "true"}}); err != nil {
			t.Fatal(err)
		}
		s.sendMany("fares-dlq", 2)
		pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws})
		if err != nil {
			t.Fatal(err)
		}
		defer pub.Close()
		w := s.watch(t, s.client(fares()), dlq.WatchConfig{
			Queues: []string{"fares-dlq"}, Publisher: pub, Endpoint: "sqs://" + s.full("pager.fifo"), Limits: dlq.Limits{RaiseAfter: 1, ClearAfter: 1},
		})
		pass(interval / 2)
		if n := w.notices; len(n) != 1 || !slices.Equal(n[0].Sources, []string{s.full("fares")}) {
			t.Errorf("the notices are %+v", n)
		}
		for range 3 {
			s.purge("fares-dlq")
			pass(interval)
			s.sendMany("fares-dlq", 2)
			pass(interval)
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		var events []string
		for _, m := range s.take("pager.fifo") {
			events = append(events, m.attributes["event"])
		}
		if want := []string{"raised", "cleared", "raised", "cleared", "raised", "cleared", "raised"}; !slices.Equal(events, want) {
			t.Errorf("the notices came as %q, want %q", events, want)
		}
	})
}

// slow is a publisher that takes its time.
type slow struct{ failing }

func (p *slow) Publish(endpoint string, messages ...*message.Message) error {
	time.Sleep(9 * time.Second)
	return p.failing.Publish(endpoint, messages...)
}

// A watcher that is stopped ends within half a minute, and tells what is not out.
func TestWatchStopsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		for i := range 9 {
			name := fmt.Sprint("q", i)
			s.queue(name+"-dlq", "", 0)
			s.queue(name, name+"-dlq", 3)
			s.sendMany(name+"-dlq", 1)
		}
		p := &slow{}
		w := s.watch(t, s.client(), dlq.WatchConfig{Publisher: p, Endpoint: "alarms", Limits: dlq.Limits{RaiseAfter: 1}})
		pass(time.Second)
		began := time.Now()
		err := w.stop()
		if took := time.Since(began); took > 30*time.Second || took < 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), `notices could not be published to "alarms"`) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestWatchConfig(t *testing.T) {
	s := embedded(t)
	for _, tt := range []struct {
		config dlq.WatchConfig
		want   string
	}{
		{dlq.WatchConfig{Interval: time.Millisecond}, "Interval is 1ms; want 1s or more"},
		{dlq.WatchConfig{Discover: time.Second}, "Discover is 1s; want the Interval, 30s, or more"},
		{dlq.WatchConfig{Remind: time.Second}, "Remind is 1s; want the Interval"},
		{dlq.WatchConfig{Endpoint: "alarms"}, "want both Publisher and Endpoint"},
		{dlq.WatchConfig{Queues: []string{""}}, "Queues has an empty name"},
		{dlq.WatchConfig{Limits: dlq.Limits{DepthLow: 2}}, "Limits: DepthLow is 2; want 1 to Depth, which is 1"},
		{dlq.WatchConfig{ByQueue: map[string]dlq.Limits{"rides": {ClearAfter: -1}}}, `ByQueue: "rides": ClearAfter is -1`},
	} {
		if _, err := s.client().NewWatcher(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
}
