package redisstore_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/waybill-dev/waybill/store"
)

// lockFor takes a lock, or a place in its queue.
func lockFor(t *testing.T, tg target, st store.Locks, resource, request string) store.LockAnswer {
	t.Helper()
	got, err := st.AcquireLock(t.Context(), store.LockRequest{
		Resource: resource, Owner: "o", Request: request, NotAfter: tg.now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func unlockFor(t *testing.T, st store.Locks, resource, request string, d time.Duration) store.LockUse {
	t.Helper()
	next, err := st.ReleaseLock(t.Context(), resource, request, d)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestFences: fences grow when the server's clock steps back, as by hours at a
// failover, and when the server has lost the last of them, as at a failover too;
// they begin with the time for that.
func TestFences(t *testing.T) {
	mini := miniredis.RunT(t)
	now := epoch
	mini.SetTime(now)
	tg := target{client: dial(t, mini.Addr()), namespace: "test", now: func() time.Time { return now }, partitions: 1}
	st := tg.open(t)
	var last int64
	n := 0
	grant := func(what string) {
		t.Helper()
		n++
		request := "r" + strconv.Itoa(n)
		got := lockFor(t, tg, st, "l", request).Holder
		if got.Fence <= last {
			t.Errorf("%s: fence %d after %d", what, got.Fence, last)
		}
		last = got.Fence
		unlockFor(t, st, "l", request, time.Millisecond)
	}
	for range 3 {
		grant("one after the other")
	}
	if want := epoch.UnixMicro() + 2; last != want {
		t.Errorf("the third fence is %d, want the time and 2, %d", last, want)
	}
	mini.FastForward(time.Hour) // what is remembered of the lock expires
	if keys := tg.client.Keys(t.Context(), "test:{p0}:l*").Val(); len(keys) != 1 {
		t.Errorf("of a lock that is free stay %q, want the partition's fence", keys)
	}
	grant("when all of the lock is gone")
	now = now.Add(-5 * time.Hour)
	mini.SetTime(now)
	grant("after the clock stepped back")
	now = now.Add(5*time.Hour + time.Millisecond)
	mini.SetTime(now)
	tg.client.Del(t.Context(), "test:{p0}:lf")
	grant("after the last fence was lost")
}

// TestReleasedKeysOutliveTheirRecords: the stored times decide for how long a
// request is remembered; Redis keeps the key for a minute longer than the
// longest of them.
func TestReleasedKeysOutliveTheirRecords(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			tg.partitions = 1
			st := tg.open(t)
			for _, d := range []struct{ remember, want time.Duration }{
				{time.Hour, time.Hour}, {time.Second, time.Hour}, {2 * time.Hour, 2 * time.Hour},
			} {
				unlockFor(t, st, "l", "r"+d.remember.String(), d.remember)
				ttl, err := tg.client.PTTL(t.Context(), tg.namespace+":{p0}:lr:l").Result()
				const slack = 10 * time.Second
				if want := d.want + time.Minute; err != nil || ttl > want || ttl < want-slack {
					t.Errorf("after a release that is remembered for %v the key lives for %v, %v, want %v", d.remember, ttl, err, want)
				}
			}
		})
	}
}

// TestReleasedRequestsAreDropped: what is remembered of a lock that is in use all
// the time does not grow.
func TestReleasedRequestsAreDropped(t *testing.T) {
	tg := inProcess(t)
	tg.partitions = 1
	st := tg.open(t)
	for i := range 20 {
		lockFor(t, tg, st, "l", strconv.Itoa(i))
		unlockFor(t, st, "l", strconv.Itoa(i), 2*time.Second)
		tg.advance(time.Second)
	}
	if n := tg.client.ZCard(t.Context(), tg.namespace+":{p0}:lr:l").Val(); n > 2 {
		t.Errorf("%d requests are remembered, want the last 2", n)
	}
}

// TestScriptsPerLock counts: a lock that is free costs one script to take and one
// to give back, each one round trip.
func TestScriptsPerLock(t *testing.T) {
	tg := inProcess(t)
	rec := new(recorder)
	tg.client.AddHook(rec)
	st := tg.open(t)
	lockFor(t, tg, st, "warm", "r")
	unlockFor(t, st, "warm", "r", time.Hour)
	rec.take()
	lockFor(t, tg, st, "l", "r")
	unlockFor(t, st, "l", "r", time.Hour)
	if calls, trips := rec.take(); len(calls) != 2 || trips != 2 {
		t.Errorf("%d scripts in %d round trips, want 2 in 2", len(calls), trips)
	}
}
