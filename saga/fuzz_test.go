package saga

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// fuzzed is a saga that hears all kinds of mail.
func fuzzed(tb testing.TB) *Definition {
	take := func(s *int, n int) error { *s += n; return nil }
	kin := New("kin", compensable("K"))
	s := New("s",
		compensable("A"),
		Callback("C", nothing, take).Undo(undoNothing).Retry(twice),
		Receive("G", "go", take).Timeout(time.Hour),
		Parallel("Both",
			Branch("x", Remote("R", "work", func(s *int) (int, error) { return *s, nil }, take).UndoRemote().Retry(twice).UndoRetry(twice)),
			Branch("y", Child("K1", kin, func(s *int) (int, error) { return *s, nil }, take).Retry(twice)),
		).Merge(mergeNothing),
		Do("Z", nothing).Retry(twice))
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.def
}

// FuzzMail has an execution hear mail of all kinds, with what else happens between:
// each line is mail, or one of + (the attempt at work is done), - (it is refused),
// ? (its outcome is unknown), ! (its worker dies) and > (it is woken). Whatever the
// mail says, each commit leaves frames that the next opening takes, and nobody
// panics. SECRET stands for that of the token that is out.
func FuzzMail(f *testing.F) {
	for _, seed := range []string{
		// All the way, and then undone.
		"+\n+\n{\"k\":\"complete\",\"t\":{\"s\":\"C\",\"v\":1,\"k\":\"SECRET\"},\"e\":{\"r\":7}}\n" +
			"{\"k\":\"signal\",\"s\":{\"n\":\"go\",\"d\":3}}\n" +
			"{\"k\":\"reply\",\"r\":{\"reply\":\"do\",\"frame\":\"Both:0\",\"step\":\"R\",\"visit\":1,\"attempt\":1,\"outcome\":\"done\",\"result\":2}}\n" +
			"{\"k\":\"child\",\"c\":{\"f\":\"Both:1\",\"s\":\"K1\",\"v\":1,\"u\":\"completed\",\"d\":1,\"h\":true}}\n-\n" +
			"{\"k\":\"child\",\"c\":{\"f\":\"Both:1\",\"s\":\"K1\",\"v\":1,\"u\":\"compensated\"}}\n" +
			"{\"k\":\"reply\",\"r\":{\"reply\":\"undo\",\"frame\":\"Both:0\",\"step\":\"R\",\"visit\":1,\"attempt\":1,\"outcome\":\"done\"}}\n+\n+",
		"+\n+\n{\"k\":\"complete\",\"t\":{\"s\":\"C\",\"v\":1,\"k\":\"SECRET\"},\"e\":{\"e\":\"No\",\"c\":\"why\"}}\n+\n",
		"{\"k\":\"signal\",\"s\":{\"n\":\"go\",\"d\":\"x\"}}\n+\n?\n!\n>\n{\"k\":\"beat\",\"t\":{\"s\":\"C\",\"v\":1,\"k\":\"SECRET\"}}\n{\"k\":\"cancel\",\"b\":\"ann\"}",
		"{\"k\":\"suspend\"}\n+\n{\"k\":\"cancel\"}\n{\"k\":\"resume\"}\n-\n-\n{\"k\":\"edit\",\"i\":{\"s\":\"A\",\"d\":4}}\n{\"k\":\"skip\"}\n{\"k\":\"retry\"}",
		// Blocked at an undo, which is edited, and skipped.
		"+\n-\n-\n-\n{\"k\":\"edit\",\"i\":{\"s\":\"A\",\"u\":true,\"a\":1,\"d\":4}}\n-\n-\n{\"k\":\"retry\"}\n?\n-\n{\"k\":\"skip\",\"b\":\"ann\"}",
		// Cancelled while somebody else is at work, who says later that it was done.
		"+\n+\n{\"k\":\"complete\",\"t\":{\"s\":\"C\",\"v\":1,\"k\":\"SECRET\"},\"e\":{\"r\":7}}\n" +
			"{\"k\":\"signal\",\"s\":{\"n\":\"go\",\"d\":3}}\n{\"k\":\"cancel\"}\n>\n>\n" +
			"{\"k\":\"child\",\"c\":{\"f\":\"Both:1\",\"s\":\"K1\",\"v\":1,\"u\":\"compensated\"}}\n" +
			"{\"k\":\"reply\",\"r\":{\"reply\":\"do\",\"frame\":\"Both:0\",\"step\":\"R\",\"visit\":1,\"attempt\":1,\"outcome\":\"done\",\"result\":2}}\n>\n>",
		"{\"k\":\"suspend\"}\n>\n{\"k\":\"signal\",\"s\":{\"n\":\"go\"}}\n{\"k\":\"terminate\",\"b\":\"ann\"}",
		"+\n{\"k\":\"undo\"}\n{\"k\":\"settle\"}\n{\"k\":\"terminate\"}\n{\"k\":\"reply\"}\n{\"k\":\"later\"}\n[]",
	} {
		f.Add([]byte(seed))
	}
	def := fuzzed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBench(def)
		b.settle()
		lines := bytes.Split(data, []byte("\n"))
		for _, line := range lines[:min(len(lines), 50)] {
			if b.m.status().Ended() {
				return
			}
			if b.parked {
				b.open(time.Second)
				b.settle()
			}
			switch string(line) {
			case "+", "-", "?":
				if len(b.jobs) > 0 {
					b.answer(map[string]string{"+": "done", "-": "declined", "?": "unknown"}[string(line)])
				}
			case "!":
				b.crash()
			case ">":
				if !b.wake.IsZero() {
					b.now = latest(b.now, b.wake)
				}
			default:
				b.hear(bytes.ReplaceAll(line, []byte("SECRET"), []byte(b.token())))
			}
			b.settle()
			b.opens(t, line)
		}
	})
}

// token is the secret of a task token that is out.
func (b *bench) token() (secret string) {
	b.m.each(func(f *frame) bool {
		if f.Token != "" {
			secret = f.Token
		}
		return secret == ""
	})
	return secret
}

// hear absorbs mail, as an actor does.
func (b *bench) hear(body []byte) {
	a := &actor{c: &Coordinator{}, m: b.m, base: b.now, anchor: time.Now()}
	_ = a.absorb(body)
}

// opens opens what is committed, without going on with it.
func (b *bench) opens(t *testing.T, after []byte) {
	root, err := decodeFrame(nil, b.committed[store.RootFrame], b.def, b.def.root, "")
	if err != nil {
		t.Fatalf("after %s nobody can open what is committed: %v\n%s", after, err, b.committed)
	}
	m := resume(b.def, root, b.epoch+1, b.start, benchLease, benchMaxLost)
	for m.unfold() {
		fields := make(map[string][]byte)
		for _, name := range m.wanted() {
			if data, ok := b.committed[name]; ok {
				fields[name] = data
			}
		}
		if err := m.supply(nil, fields); err != nil {
			t.Fatalf("after %s nobody can open what is committed: %v\n%s", after, err, b.committed)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(taskToken{Execution: "1", Frame: "P:0", Step: "A", Visit: 2, Secret: "s"}.String())
	f.Add(" " + taskToken{Execution: "é\n", Step: "A", Secret: "\x00"}.String() + "\n")
	f.Add("e30")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseToken(text)
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Errorf("%q: %v, want ErrToken", text, err)
			}
			return
		}
		again, err := parseToken(token.String())
		if len(token.String()) > maxToken {
			return // what was short by its escapes, or had them
		}
		if err != nil || again != token {
			t.Errorf("%q is %+v, and read again %+v (%v)", text, token, again, err)
		}
	})
}

// FuzzRule evaluates rules that are valid on any state. They mean the same when
// they were written and read, and Not is the opposite.
func FuzzRule(f *testing.F) {
	state := `{"Cents":120000,"customer":{"country":"NZ","age":1e2},"tags":[1],"none":null,"ok":true}`
	for _, rule := range []Rule{
		Field("Cents").Greater(100_000), Field("customer.country").Equals("NZ"), Field("customer.age").AtMost(100.0),
		And(Field("ok").Equals(true), Not(Field("none").Equals(nil))), Or(Field("tags").Present(), Field("customer.country").Less("A")),
		Field("customer.age").AtLeast(99), Not(Field("no.where").Present()),
	} {
		data, err := json.Marshal(rule)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(state))
	}
	f.Add([]byte(`{"field":"a","op":"<","value":1e400}`), []byte(`{"a":1e-400}`))
	f.Add([]byte(`{"and":[],"or":[{}]}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, data, state []byte) {
		var rule Rule
		if json.Unmarshal(data, &rule) != nil || rule.validate() != nil {
			return
		}
		holds, err := rule.holds(state)
		if err != nil {
			return // it is no JSON
		}
		if not, err := Not(rule).holds(state); err != nil || not == holds {
			t.Errorf("%s on %s is %t, and its opposite %t (%v)", data, state, holds, not, err)
		}
		written, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		var again Rule
		if err := json.Unmarshal(written, &again); err != nil || again.validate() != nil {
			t.Fatalf("%s is written as %s, which is read as %+v: %v, %v", data, written, again, err, again.validate())
		}
		if same, err := again.holds(state); err != nil || same != holds {
			t.Errorf("%s on %s is %t, and %t as it is written: %s (%v)", data, state, holds, same, written, err)
		}
	})
}

// FuzzGraph reads graphs as they are registered. One that is read is written and
// read as the same, differs in nothing from itself, and can be replayed.
func FuzzGraph(f *testing.F) {
	for _, d := range []*Definition{
		fuzzed(f),
		New("row", compensable("A"), Do("P", nothing).Pivot().Retry(twice)).Version("7").Within(time.Hour).def,
		New("way", Choose[int]("W").If("B", Field("x").Less(3)).Otherwise("C"), compensable("B").Next("D"), Pass("C", func(*int) error { return nil }),
			Wait[int]("D", time.Minute), ForEach("M", func(*int) []int { return nil }, nil, compensable("I")).Tolerate(1).Concurrency(2), Succeed[int]("E")).def,
	} {
		data, err := d.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"format":1,"name":"s","version":"1","states":[{"name":"A","type":"Map"}]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		walked, err := definitionFrom(data)
		if err == nil {
			if diff := differ(shapeOf(walked.root), shapeOf(walked.root), ""); diff != "" {
				t.Errorf("%s differs from itself: %s", data, diff)
			}
		}
		d, err := ParseDefinition(data)
		if err != nil {
			return
		}
		written, err := d.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseDefinition(written)
		if err != nil {
			t.Fatalf("%s is read, and not as it is written, %s: %v", data, written, err)
		}
		if twice, err := again.MarshalJSON(); err != nil || !bytes.Equal(twice, written) {
			t.Errorf("%s is written as %s, and then as %s (%v)", data, written, twice, err)
		}
		names := make([]string, 0, len(d.States()))
		for _, s := range d.States() {
			names = append(names, s.Name)
		}
		slices.Sort(names)
		if n := len(slices.Compact(names)); n != len(d.States()) {
			t.Errorf("%s has states of one name", data)
		}
	})
}
