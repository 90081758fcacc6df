package redisstore_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// TestRecordedLetters is TestRecordedFormat for the catalogue, which is in a file
// of its own.
func TestRecordedLetters(t *testing.T) {
	goOnWith(t, fmt.Sprintf("testdata/v%d-letters.json", store.FormatVersion), leaveLetters, goOnLetters)
}

// recordedLetters are those that leaveLetters leaves.
func recordedLetters() map[string][]store.Letter {
	at := time.UnixMilli(1767323045006)
	return map[string][]store.Letter{
		"fares-dlq": {
			{LetterSummary: store.LetterSummary{
				ID: "5fea7756-0ea4-451a-a703-a558b933e274", Name: "fare-7", Reason: "permanent", Filter: "charge", Type: "*fare.DeclinedError",
				Frame: "card declined by issuer #", Source: "fares", FirstFailedAt: at, FailedAt: at.Add(time.Minute),
			}, Body: []byte(`{"v":1,"body":"7:"}`)},
			{LetterSummary: store.LetterSummary{
				ID: "m:2", Reason: "unrecorded", Source: "fares", Attributes: "tenant, trace", Shape: "{amount: number}", FirstFailedAt: at, FailedAt: at,
			}, Body: []byte("\x01:\n")},
			{LetterSummary: store.LetterSummary{ID: "bare"}, Body: []byte("b")},
		},
		"rides:dlq": {{LetterSummary: store.LetterSummary{ID: "bare", Frame: "é"}, Body: []byte("other")}},
	}
}

func leaveLetters(t *testing.T, tg target) {
	st, err := redisstore.Open(t.Context(), redisstore.Config{
		Client: tg.client, Namespace: tg.namespace, Partitions: 16, AcceptUnknownEviction: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for queue, letters := range recordedLetters() {
		if err := st.PutLetters(t.Context(), queue, letters); err != nil {
			t.Fatal(err)
		}
	}
}

// goOnLetters uses all that leaveLetters left.
func goOnLetters(t *testing.T, tg target) {
	ctx := t.Context()
	st, err := redisstore.Open(ctx, redisstore.Config{Client: tg.client, Namespace: tg.namespace, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	queues, err := st.LetterQueues(ctx)
	if err != nil || fmt.Sprint(queues) != "[fares-dlq rides:dlq]" {
		t.Errorf("the queues are %q, %v", queues, err)
	}
	for queue, letters := range recordedLetters() {
		summaries, next, err := st.ListSummaries(ctx, queue, "", 9)
		if err != nil || next != "" || len(summaries) != len(letters) {
			t.Errorf("the summaries of %q: %+v, %q, %v", queue, summaries, next, err)
		}
		listed := make(map[string]store.LetterSummary)
		for _, s := range summaries {
			listed[s.ID] = s
		}
		var ids []string
		for _, want := range letters {
			ids = append(ids, want.ID)
			got, err := st.GetLetter(ctx, queue, want.ID)
			if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(listed[want.ID], want.LetterSummary) {
				t.Errorf("letter %q is %+v, %v, listed as %+v, want %+v", want.ID, got, err, listed[want.ID], want)
			}
		}
		if err := st.PutLetters(ctx, queue, letters); err != nil {
			t.Errorf("the letters again: %v", err)
		}
		if n, err := st.CountLetters(ctx, queue); err != nil || int(n) != len(letters) {
			t.Errorf("%d letters of %q, %v", n, queue, err)
		}
		if err := st.DeleteLetters(ctx, queue, ids); err != nil {
			t.Error(err)
		}
	}
	if queues, err := st.LetterQueues(ctx); err != nil || len(queues) > 0 {
		t.Errorf("of all deleted, %q are left, %v", queues, err)
	}
}
