package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// everyLetterScript is what everyScript has of letters.
func everyLetterScript(st *redisstore.Store, id string) []namedCall {
	return []namedCall{
		{"putletters", func(ctx context.Context) (any, error) {
			return nil, st.PutLetters(ctx, id, []store.Letter{{LetterSummary: store.LetterSummary{ID: "m"}, Body: []byte("b")}})
		}},
		{"deleteletters", func(ctx context.Context) (any, error) {
			return nil, st.DeleteLetters(ctx, id, []string{"m"})
		}},
	}
}

// traceLetters makes calls of every kind for the letters of one queue.
func traceLetters(st *redisstore.Store, step func(string, func() (any, error))) {
	ctx := context.Background()
	at := time.UnixMilli(1767323045006)
	put := func(ids ...string) func() (any, error) {
		return func() (any, error) {
			var letters []store.Letter
			for _, id := range ids {
				letters = append(letters, store.Letter{
					LetterSummary: store.LetterSummary{ID: id, Name: "name of " + id, Reason: "permanent", Type: "*fare.Error", Source: "fares", FailedAt: at},
					Body:          []byte("body of " + id),
				})
			}
			return nil, st.PutLetters(ctx, "q:1", letters)
		}
	}
	del := func(ids ...string) func() (any, error) {
		return func() (any, error) { return nil, st.DeleteLetters(ctx, "q:1", ids) }
	}
	step("PutLetters", put("m1", "m2"))
	step("PutLetters again", put("m1", "m2"))
	step("PutLetters of another", put("m2", "m3"))
	step("DeleteLetters", del("m1"))
	step("DeleteLetters again", del("m1"))
	step("DeleteLetters of the others", del("m2", "m3"))
}

// TestLettersSpread: no key has much more than its share of a queue's letters, and
// no script that of more than one bucket.
func TestLettersSpread(t *testing.T) {
	tg := inProcess(t)
	st := tg.open(t)
	const n = 256 * 8
	fillCatalogue(t, st, "fares-dlq", n)
	keys, err := tg.client.Keys(t.Context(), "test:{p*}:c:*:fares-dlq").Result()
	if err != nil || len(keys) != store.LetterBuckets {
		t.Fatalf("%d buckets, %v", len(keys), err)
	}
	partitions := map[string]bool{}
	for _, key := range keys {
		if c := tg.client.ZCard(t.Context(), key).Val(); c > 30 {
			t.Errorf("%s has %d letters of %d", key, c, n)
		}
		partition, _, _ := strings.Cut(key, "}")
		partitions[partition] = true
	}
	if len(partitions) < 100 {
		t.Errorf("they are in %d partitions", len(partitions))
	}
	if got, err := st.CountLetters(t.Context(), "fares-dlq"); err != nil || got != n {
		t.Errorf("%d letters, %v", got, err)
	}
}

// A letter whose body is gone is not passed over: Redis has lost it.
func TestLostLetter(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			fillCatalogue(t, st, "q", 5)
			keys, err := tg.client.Keys(t.Context(), tg.namespace+":{p*}:cl:1:q:*3").Result()
			if err != nil || len(keys) != 1 {
				t.Fatal(keys, err)
			}
			if err := tg.client.Del(t.Context(), keys[0]).Err(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := st.ListLetters(t.Context(), "q", "", 9); err == nil || !strings.Contains(err.Error(), "is lost") {
				t.Errorf("the list: %v", err)
			}
			if _, err := st.GetLetter(t.Context(), "q", "5fea7756-0ea4-451a-a703-000000000003"); err == nil || !strings.Contains(err.Error(), "is lost") {
				t.Errorf("the letter: %v", err)
			}
			if err := st.DeleteLetters(t.Context(), "q", []string{"5fea7756-0ea4-451a-a703-000000000003"}); err != nil {
				t.Error(err)
			}
			if letters, _, err := st.ListLetters(t.Context(), "q", "", 9); err != nil || len(letters) != 4 {
				t.Errorf("%d letters, %v", len(letters), err)
			}
			if n, err := st.CountLetters(t.Context(), "q"); err != nil || n != 4 {
				t.Errorf("%d letters are counted, %v", n, err)
			}
		})
	}
}

func fillCatalogue(t testing.TB, st *redisstore.Store, queue string, n int) {
	t.Helper()
	at := time.UnixMilli(1767323045006)
	batch := make([]store.Letter, 0, store.MaxLetters)
	for i := range n {
		batch = append(batch, store.Letter{
			LetterSummary: store.LetterSummary{
				ID: fmt.Sprintf("5fea7756-0ea4-451a-a703-%012d", i), Reason: "permanent", Filter: "charge", Type: "*fare.DeclinedError",
				Frame: fmt.Sprintf("card declined by issuer %d", i%7), Source: "fares", FirstFailedAt: at, FailedAt: at.Add(time.Duration(i) * time.Second),
			},
			Body: []byte(`{"amount":7}`),
		})
		if len(batch) == cap(batch) || i == n-1 {
			if err := st.PutLetters(t.Context(), queue, batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}

// BenchmarkGroupLetters groups 500,000 letters by their summaries: the floor that
// a grouping is measured against, which is to take less than 3 s.
func BenchmarkGroupLetters(b *testing.B) {
	const n = 500_000
	addr, ok := testserver.Redis(b)
	if !ok {
		addr = miniredis.RunT(b).Addr()
	}
	client := dial(b, addr)
	namespace := testserver.Namespace(b)
	defer sweep(b, client, namespace)
	st := target{client: client, namespace: namespace}.open(b)
	began := time.Now()
	fillCatalogue(b, st, "fares-dlq", n)
	b.Logf("%d letters were put in %v", n, time.Since(began))
	type key struct {
		reason, filter, kind, frame, source string
		hour                                time.Time
	}
	for b.Loop() {
		groups, seen := map[key]int{}, 0
		for position := ""; ; {
			page, next, err := st.ListSummaries(b.Context(), "fares-dlq", position, store.MaxSummaryPage)
			if err != nil {
				b.Fatal(err)
			}
			for _, l := range page {
				groups[key{l.Reason, l.Filter, l.Type, l.Frame, l.Source, l.FailedAt.UTC().Truncate(time.Hour)}]++
			}
			seen += len(page)
			if position = next; next == "" {
				break
			}
		}
		if seen != n || len(groups) < 7 {
			b.Fatalf("%d letters in %d groups", seen, len(groups))
		}
	}
}
