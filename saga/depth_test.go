package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// nested is JSON of so many levels.
func nested(n int) json.RawMessage {
	return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n))
}

// JSON that is nested as deeply as a decoder takes it cannot be put into anything
// more. Nobody is to bring an execution to a stand with it.
func TestDeeplyNestedJSON(t *testing.T) {
	const most = 1000
	type open struct{ V any }
	refused := func(t *testing.T, what string, err error) {
		t.Helper()
		var permanent interface{ Permanent() bool }
		if err == nil || !errors.As(err, &permanent) || !permanent.Permanent() || !strings.Contains(err.Error(), "levels") {
			t.Errorf("%s: %.200v, want it refused for its levels, for good", what, err)
		}
	}
	for name, tt := range map[string]struct {
		brings func(t *testing.T, tell func(body string) error, token string)
		want   saga.Status
	}{
		"a signal": {func(t *testing.T, tell func(body string) error, _ string) {
			refused(t, "a signal", tell(`{"waybill":1,"signal":"other","execution":"1","payload":`+string(nested(9998))+`}`))
			if err := tell(`{"waybill":1,"signal":"other","execution":"1","payload":` + string(nested(most)) + `}`); err != nil {
				t.Error(err)
			}
		}, saga.Completed},
		"a result": {func(t *testing.T, tell func(body string) error, token string) {
			refused(t, "a result", tell(`{"waybill":1,"complete":"`+token+`","result":`+string(nested(9998))+`}`))
		}, saga.Completed},
		"a start": {func(t *testing.T, tell func(body string) error, _ string) {
			refused(t, "a start", tell(`{"waybill":1,"start":"deep","id":"2","input":{"V":`+string(nested(9990))+`},"replyTo":"x"}`))
		}, saga.Completed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens := make(chan string, 10)
				s := saga.New("deep", saga.Callback("C", func(ctx context.Context, _ *open) error {
					tokens <- saga.StepFrom(ctx).Token
					return nil
				}, func(o *open, v any) error { o.V = v; return nil }).ReadOnly(), saga.Do("Z", func(context.Context, *open) error { return nil }))
				co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: &bell{}})
				tell := func(body string) error {
					return co.HandleMessage(message.NewMessage("m", message.Payload(body)))
				}
				if err := tell(`{"waybill":1,"start":"deep","id":"1","input":{},"replyTo":"x"}`); err != nil {
					t.Fatal(err)
				}
				token := <-tokens
				synctest.Wait()
				tt.brings(t, tell, token)
				time.Sleep(5 * time.Minute)
				if err := tell(`{"waybill":1,"complete":"` + token + `","result":7}`); err != nil {
					t.Error(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				x, err := co.Client().Wait(ctx, "1")
				if err != nil || x.Status != tt.want {
					t.Errorf("it is %.300v (%v)", x, err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// So is a state that a step of one's own makes.
func TestDeeplyNestedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type open struct{ V any }
		s := saga.New("deep", saga.Do("A", func(_ context.Context, o *open) error {
			o.V = nested(9999)
			return nil
		}).ReadOnly(), saga.Do("Z", func(context.Context, *open) error { return nil }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", open{})
		var failed *saga.FailedError
		if !errors.As(err, &failed) || failed.Status != saga.Compensated || !strings.Contains(failed.Cause.Error, "levels") {
			t.Errorf("got %.300v, want it failed for its levels", err)
		}
	})
}
