package saga_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/internal/killtest"
	"github.com/waybill-dev/waybill/saga"
)

// farRemote are the steps that participants do.
var farRemote = []string{"B", "C", "E", "I", "KB", "KY", "L", "R", "X"}

// farSagas are what coordinators and participants are killed in. Of two steps
// that follow one another, the later is the later in the alphabet too.
func farSagas(provider string) map[string]*saga.Saga[order] {
	// Kills cost attempts, and are not to decide what becomes of a saga.
	policy := saga.Retry{Attempts: 100, Initial: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	const timeout = 6 * time.Second // in which a command comes again, even twice
	undo := func(ctx context.Context, _ *order, outcome saga.Outcome) error { return ask(ctx, provider, outcome) }
	local := func(name string) *saga.Step[order] {
		return saga.Do(name, func(ctx context.Context, o *order) error {
			o.Log = append(o.Log, name)
			return ask(ctx, provider, "")
		}).Timeout(timeout).Retry(policy)
	}
	near := func(name string) *saga.Step[order] { return local(name).Undo(undo).UndoRetry(policy) }
	sent := func(name string) *saga.Step[order] {
		return saga.Remote(name, farCommands,
			func(o *order) (order, error) { return *o, nil },
			func(o *order, result string) error { o.Log = append(o.Log, result); return nil },
		).Timeout(timeout).Retry(policy)
	}
	far := func(name string) *saga.Step[order] {
		return sent(name).UndoRemote().UndoTimeout(timeout).UndoRetry(policy)
	}
	items := func(n int) func(*order) []order { return func(*order) []order { return make([]order, n) } }
	merge := func(o *order, branches []order) error {
		before := len(o.Log)
		for _, b := range branches {
			o.Log = append(o.Log, b.Log[before:]...)
		}
		return nil
	}
	hand := func(o *order) (order, error) { return order{}, nil }
	take := func(o *order, child order) error { o.Log = append(o.Log, child.Log...); return nil }

	account := saga.Lock("account", func(*order) string { return "7" }).Wait(time.Hour)

	kin := saga.New("kin", near("KA"), far("KB"),
		saga.Parallel("KP", saga.Branch("x", near("KX")), saga.Branch("y", far("KY"))).Merge(func(*order, []order) error { return nil }))
	many := saga.New("many", near("A"), saga.ForEach("N", items(7), nil, near("J"), far("R")), local("Z"))
	saga.SetMapSize(many, 4, 3)
	return map[string]*saga.Saga[order]{
		"row": saga.New("row", near("A"), far("B"), sent("C").Undo(undo).UndoRetry(policy), near("D"), far("E"), local("Z")),
		"wide": saga.New("wide", far("B"),
			saga.Parallel("P",
				saga.Branch("x", far("X"), near("Y")),
				saga.Branch("m", saga.ForEach("M", items(3), nil, far("I"), near("J"))),
				saga.Branch("k", saga.Child("K", kin, hand, take)),
			).Merge(merge),
			local("Z")),
		"many":   many,
		"locked": saga.New("locked", near("A").Lock(account), far("B"), near("D"), local("Z")),
		// A kill may cost L all its time, and its command may come after its undo.
		"late":   saga.New("late", near("A"), far("L").Timeout(time.Second).Retry(saga.Retry{Attempts: 1}), near("W"), local("Z")),
		"parent": saga.New("parent", far("B"), saga.Child("C2", kin, hand, take), near("D"), local("Z")),
		"kin":    kin,
	}
}

// farPlaces are the places of a saga's steps, below its parent's.
var farPlaces = map[string][]string{
	"row":    {"A", "B", "C", "D", "E", "Z"},
	"wide":   slices.Concat([]string{"B", "P:0,X", "P:0,Y"}, farItems("P:1,M:", 3, "I", "J"), farKin("P:2,K"), []string{"Z"}),
	"many":   slices.Concat([]string{"A"}, farItems("N:0,N:", 3, "J", "R"), farItems("N:1,N:", 3, "J", "R"), farItems("N:2,N:", 1, "J", "R"), []string{"Z"}),
	"locked": {"A", "B", "D", "Z"},
	"late":   {"A", "L", "W", "Z"},
	"parent": slices.Concat([]string{"B"}, farKin("C2"), []string{"D", "Z"}),
}

func farKin(place string) []string {
	return []string{place + ",KA", place + ",KB", place + ",KP:0,KX", place + ",KP:1,KY"}
}

func farItems(prefix string, n int, steps ...string) (places []string) {
	for i := range n {
		for _, s := range steps {
			places = append(places, prefix+string(rune('0'+i))+","+s)
		}
	}
	return places
}

// farFares are the kinds of orders. Where calls is empty, all steps are done, but
// for the last where it refuses; else those are listed that must have been.
var farFares = map[string]fare{
	"row":           {saga: "row", status: saga.Completed},
	"row-flaky":     {saga: "row", status: saga.Completed, answers: map[string]answer{"do B": fails, "do D": fails}},
	"row-refused":   {saga: "row", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo B": fails, "undo D": fails}},
	"row-garbled":   {saga: "row", status: saga.Compensated, answers: map[string]answer{"do E": garbles}, unknown: "E", calls: []string{"A", "B", "C", "D", "E"}},
	"row-cancelled": {saga: "row", status: saga.Compensated, answers: map[string]answer{"do C": cancels}, calls: []string{"A", "B", "C"}},
	"row-once":      {saga: "row", answers: map[string]answer{"do A": once, "do B": once, "do C": once, "do D": once, "do E": once}},
	"row-blocked":   {saga: "row", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo E": blocks}},

	"wide": {saga: "wide", status: saga.Completed},
	"wide-refused": {saga: "wide", status: saga.Compensated, answers: map[string]answer{
		"do Z": refuses, "undo P:0,X": fails, "undo P:1,M:1,I": fails, "undo P:2,K,KB": fails}},
	"wide-item":    {saga: "wide", status: saga.Compensated, answers: map[string]answer{"do P:1,M:1,I": garbles}, unknown: "P:1,M:1,I", calls: []string{"B", "P:1,M:1,I"}},
	"wide-child":   {saga: "wide", status: saga.Compensated, answers: map[string]answer{"do P:2,K,KB": refuses}, calls: []string{"B", "P:2,K,KA"}},
	"wide-blocked": {saga: "wide", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo P:2,K,KA": blocks, "undo P:0,X": blocks}},
	"wide-once": {saga: "wide", answers: map[string]answer{
		"do P:0,X": once, "do P:0,Y": once, "do P:1,M:0,I": once, "do P:1,M:2,J": once, "do P:2,K,KB": once}},

	"many":           {saga: "many", status: saga.Completed},
	"many-refused":   {saga: "many", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo N:1,N:2,R": fails, "undo N:0,N:0,J": fails}},
	"many-item":      {saga: "many", status: saga.Compensated, answers: map[string]answer{"do N:1,N:0,R": refuses}, calls: []string{"A", "N:1,N:0,J"}},
	"many-cancelled": {saga: "many", status: saga.Compensated, answers: map[string]answer{"do N:0,N:1,R": cancels}, calls: []string{"A", "N:0,N:1,R"}},
	"many-blocked":   {saga: "many", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo N:2,N:0,J": blocks}},

	"many-once": {saga: "many", answers: map[string]answer{
		"do N:0,N:0,J": once, "do N:0,N:0,R": once, "do N:1,N:1,J": once, "do N:1,N:1,R": once, "do N:2,N:0,R": once}},

	"locked":           {saga: "locked", status: saga.Completed},
	"locked-refused":   {saga: "locked", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo B": fails}},
	"locked-once":      {saga: "locked", answers: map[string]answer{"do A": once, "do B": once, "do D": once}},
	"locked-cancelled": {saga: "locked", status: saga.Compensated, answers: map[string]answer{"do B": cancels}, calls: []string{"A", "B"}},

	"late":         {saga: "late"},
	"late-refused": {saga: "late", status: saga.Compensated, answers: map[string]answer{"do Z": refuses}, calls: []string{"A"}},
	"late-hangs":   {saga: "late", status: saga.Compensated, answers: map[string]answer{"do L": hangs}, unknown: "L", calls: []string{"A"}},

	"parent":           {saga: "parent", status: saga.Completed},
	"parent-refused":   {saga: "parent", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo C2,KP:1,KY": fails, "undo D": fails}},
	"parent-child":     {saga: "parent", status: saga.Compensated, answers: map[string]answer{"do C2,KP:0,KX": refuses}, calls: []string{"B", "C2,KA", "C2,KB"}},
	"parent-cancelled": {saga: "parent", status: saga.Compensated, answers: map[string]answer{"do C2,KB": cancels}, calls: []string{"B", "C2,KA", "C2,KB"}},
	"parent-once":      {saga: "parent", answers: map[string]answer{"do B": once, "do C2,KA": once, "do C2,KB": once, "do C2,KP:0,KX": once, "do C2,KP:1,KY": once}},
	"parent-blocked":   {saga: "parent", status: saga.Compensated, answers: map[string]answer{"do Z": refuses, "undo C2,KB": blocks}},
}

// farPlace is where a call belongs, below the execution that is no child.
func farPlace(c killtest.Call) string {
	_, place, _ := strings.Cut(c.Execution, "/")
	parts := slices.DeleteFunc([]string{place, c.Frame, c.Step}, func(part string) bool { return part == "" })
	return strings.Join(parts, ",")
}

func farName(c killtest.Call) string {
	if c.Undo {
		return "undo " + farPlace(c)
	}
	return "do " + farPlace(c)
}

// follows reports whether one place comes after another by the definition, and
// not beside it.
func follows(later, earlier string) bool {
	a, b := strings.Split(earlier, ","), strings.Split(later, ",")
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		step, _, _ := strings.Cut(a[i], ":")
		other, _, _ := strings.Cut(b[i], ":")
		return step < other
	}
	return false
}

// errorsIs reports whether an error is one of some.
func errorsIs(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
