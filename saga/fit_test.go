package saga

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// fits tries what the bench has committed on a graph.
func (b *bench) fits(def *Definition) *Misfit {
	root := new(frame)
	if err := json.Unmarshal(b.committed[store.RootFrame], root); err != nil {
		panic(err)
	}
	t := &fitting{replay: newReplay(def, b.def), root: root, load: func(names []string) (map[string][]byte, error) {
		fields := make(map[string][]byte)
		for name, data := range b.committed {
			if slices.Contains(names, name) {
				fields[name] = data
			}
		}
		return fields, nil
	}}
	for _, e := range b.trace {
		if misfit := t.follow(e); misfit != nil {
			return misfit
		}
	}
	misfit, err := t.check()
	if err != nil {
		panic(err)
	}
	return misfit
}

// TestUpgradeProperties replaces the graph of an execution on the way by random
// other ones that it is said to fit. All rules hold as if it had begun with the
// last of them.
func TestUpgradeProperties(t *testing.T) {
	fits, misfits := 0, make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		w := newWood(t, drawTree(t))
		w.upgrades = true
		for range rapid.IntRange(0, 60).Draw(t, "operations") {
			w.step()
		}
		w.finish()
		fits += w.fitted
		for problem := range w.misfits {
			misfits[problem]++
		}
	})
	t.Logf("%d upgrades; misfits: %v", fits, misfits)
}

// upgrade goes on with another graph, if the execution fits it.
func (w *wood) upgrade() {
	def := w.edit()
	if def == nil {
		return
	}
	if misfit := w.fits(def); misfit != nil {
		if w.misfits == nil {
			w.misfits = make(map[string]bool)
		}
		w.misfits[regexp.MustCompile(`\b(S|N|B)\d+\b`).ReplaceAllString(misfit.Problem, "X")] = true
		return
	}
	w.fitted++
	if w.parked {
		w.def = def
		w.open(0)
		return
	}
	w.lose()
	w.def = def
	w.crash()
}

// edit draws a change of the definition; nil is one that is not valid.
func (w *wood) edit() *Definition {
	d := &Definition{name: w.def.name, own: w.def.own, decode: w.def.decode, locks: w.def.locks, root: cloneGraph(w.def.root)}
	var graphs []*Graph
	var collect func(g *Graph)
	collect = func(g *Graph) {
		graphs = append(graphs, g)
		for _, s := range g.States {
			for _, inner := range s.graphs() {
				collect(inner)
			}
		}
	}
	collect(d.root)
	g := rapid.SampledFrom(graphs).Draw(w.T, "graph")
	i := rapid.IntRange(0, len(g.States)-1).Draw(w.T, "state")
	s := g.States[i]
	w.edits++
	name := fmt.Sprintf("N%d", w.edits)
	relink := func(from, to string) {
		for _, other := range g.States {
			if other.Next == from {
				other.Next = to
			}
			for n := range other.Choices {
				if other.Choices[n].Next == from {
					other.Choices[n].Next = to
				}
			}
			other.Catch = slices.DeleteFunc(other.Catch, func(c Catcher) bool { return c.Next == from })
		}
	}
	insert := func(step *Step[int]) {
		n := step.state
		n.Next, s.Next = s.Next, n.Name
		g.States = slices.Insert(g.States, i+1, &n)
	}
	switch edit := rapid.SampledFrom([]string{"remove", "insert", "undo", "swap", "loop", "type", "catch", "branch", "lock", "whole"}).Draw(w.T, "edit"); {
	case edit == "remove":
		relink(s.Name, s.Next)
		g.States = slices.Delete(g.States, i, i+1)
	case edit == "insert":
		insert(compensable(name))
	case edit == "undo" && s.Type == TypeTask && s.Remote == "":
		if s.undo != nil {
			s.undo, s.UndoRetry, s.ReadOnly = nil, nil, true
		} else {
			was := compensable(name).state
			s.undo, s.UndoRetry, s.ReadOnly = was.undo, was.UndoRetry, false
		}
	case edit == "swap" && i+1 < len(g.States) && s.Next == g.States[i+1].Name:
		after := g.States[i+1]
		relink(s.Name, after.Name)
		s.Next, after.Next = after.Next, s.Name
		g.States[i], g.States[i+1] = after, s
	case edit == "loop":
		n := 0
		insert(Choose[int](name).When(g.States[rapid.IntRange(0, i).Draw(w.T, "back to")].Name, func(*int) bool { n++; return n < 3 }))
	case edit == "type" && len(s.graphs()) == 0:
		kind := &drawer{T: w.T}
		n := kind.one(0).state
		n.Name, n.Next = s.Name, s.Next
		*s = n
	case edit == "catch" && s.Type == TypeTask:
		if len(s.Catch) > 0 {
			s.Catch = nil
		} else {
			s.Catch = []Catcher{{Errors: []string{ErrorAny}, Next: g.States[len(g.States)-1].Name}}
		}
	case edit == "lock" && (s.Type == TypeTask || len(s.graphs()) > 0):
		s.Locks = nil
		if rapid.Bool().Draw(w.T, "one more") {
			s.Locks = []LockDef{(&drawer{T: w.T}).lock().lock}
		}
	case edit == "whole":
		d.locks = nil
		if rapid.Bool().Draw(w.T, "one more") {
			d.locks = []LockDef{(&drawer{T: w.T}).lock().lock}
		}
	case edit == "branch" && s.Type == TypeParallel:
		if len(s.Branches) > 1 && rapid.Bool().Draw(w.T, "one less") {
			s.Branches = s.Branches[:len(s.Branches)-1]
		} else {
			n := compensable(name).state
			s.Branches = append(s.Branches, &Graph{Name: name, States: []*State{&n}})
		}
	default:
		return nil
	}
	if d.validate() != nil || d.seal() != nil {
		return nil
	}
	return d
}

func cloneGraph(g *Graph) *Graph {
	c := &Graph{Name: g.Name}
	for _, s := range g.States {
		n := *s
		n.Choices, n.Catch, n.Branches = slices.Clone(s.Choices), slices.Clone(s.Catch), nil
		for _, b := range s.Branches {
			n.Branches = append(n.Branches, cloneGraph(b))
		}
		if s.Each != nil {
			n.Each = cloneGraph(s.Each)
		}
		c.States = append(c.States, &n)
	}
	return c
}

// An attempt that was lost with its worker, and given up before its turn came,
// has no event of its own. It may have had its effect all the same.
func TestFitOfALostAttempt(t *testing.T) {
	build := func(y *Step[int]) *Definition {
		s := New("s", compensable("S"), Parallel("P",
			Branch("x", Do("X", nothing).ReadOnly().Retry(Once())), Branch("y", y.Retry(Once()))).Merge(sum))
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		return s.def
	}
	b := newBench(build(Do("Y", nothing).ReadOnly()))
	b.play(t, "done P:0=start P:1=start")
	b.crash()
	b.settle()
	if misfit := b.fits(b.def); misfit != nil {
		t.Errorf("it does not fit its own graph: %s", misfit)
	}
	misfit := b.fits(build(compensable("Y")))
	if misfit == nil || misfit.Step != "Y" || !strings.Contains(misfit.Problem, `its outcome is "unknown"`) {
		t.Errorf("got %v, want that the undo of Y is not on record: %s", misfit, trail(b.trace))
	}
}
