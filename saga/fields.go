package saga

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/store"
)

// want asks for a field of the record.
func (m *machine) want(field string) {
	if m.wants == nil {
		m.wants = make(map[string]bool)
	}
	m.wants[field] = true
}

// supply gives the machine the fields that it wants. One that the record does
// not have, or that is damaged, is an error.
func (m *machine) supply(codec Codec, fields map[string][]byte) error {
	for field := range m.wants {
		if _, ok := fields[field]; !ok {
			return fmt.Errorf("the record has no field %q", field)
		}
	}
	clear(m.wants)
	for field, stored := range fields {
		if err := m.takeFrame(codec, field, stored); err != nil {
			return err
		}
	}
	var err error
	m.each(func(f *frame) bool {
		if f.Fork != nil {
			err = m.takeItems(codec, f, fields)
		}
		return err == nil
	})
	m.restFolded()
	return err
}

// takeFrame takes a frame that is supplied.
func (m *machine) takeFrame(codec Codec, field string, stored []byte) error {
	path := strings.TrimPrefix(field, store.RootFrame)
	f, n := m.toward(path)
	if n < 0 || n >= f.Fork.Begun || f.below(f.Fork, n) != path {
		return nil // it is not a frame
	}
	kid, err := decodeFrame(codec, stored, m.def, f.Fork.graph(m.def.byName[f.Fork.Step], n), path)
	if err != nil {
		return fmt.Errorf("frame %s: %w", path, err)
	}
	m.adopt(f, n, kid)
	kid.late = m.short
	if m.folded && kid.Scope != nil && kid.Fork != nil {
		m.short = true // what is being undone as a whole is looked at as a whole
	}
	return nil
}

// takeItems takes what is supplied of the items below a frame.
func (m *machine) takeItems(codec Codec, f *frame, fields map[string][]byte) error {
	s := m.def.byName[f.Fork.Step]
	if n := f.Fork.Begun; f.Fork.Batched > 0 {
		if stored, ok := fields[itemsField(f.below(f.Fork, n))]; ok {
			var items json.RawMessage
			if err := decodeJSON(codec, stored, &items); err != nil {
				return fmt.Errorf("items of part %d of step %s: %w", n, s.Name, err)
			}
			f.parts = map[int]json.RawMessage{n: items}
		}
	}
	if stored, ok := fields[itemsField(f.path)]; ok {
		var items []json.RawMessage
		if err := decodeJSON(codec, stored, &items); err != nil {
			return fmt.Errorf("items of step %s: %w", s.Name, err)
		}
		f.items = items
	}
	return nil
}

// adopt puts a frame into its place.
func (m *machine) adopt(f *frame, n int, kid *frame) {
	for len(f.kids) <= n {
		f.kids = append(f.kids, nil)
	}
	f.kids[n] = kid
	kid.parent, kid.index, kid.kept = f, n, f.Fork.Undoing
}

// wanted lists the fields that the machine waits for.
func (m *machine) wanted() []string { return sortedKeys(m.wants) }

// drop forgets a frame, and all that is loaded below it, for good.
func (m *machine) drop(f *frame) {
	for _, kid := range f.kids {
		if kid != nil {
			m.drop(kid)
		}
	}
	m.keepLast(f)
	f.parent.kids[f.index] = nil
	m.dropField(frameField(f.path))
}

func (m *machine) dropField(field string) {
	if m.drops == nil {
		m.drops = make(map[string]bool)
	}
	m.drops[field] = true
	m.dirty = true
}

// clear drops all frames but the root's, of which nothing is needed any more.
func (m *machine) clear() {
	m.purge = m.root.Orders > 0 // there have been others
	clear(m.shelf)
}

// fields are the fields that a commit sets and deletes.
func (m *machine) fields(codec Codec) (set map[string][]byte, del []string, err error) {
	set = make(map[string][]byte, 1+len(m.puts))
	write := func(f *frame) bool {
		if f.dirty || f == m.root {
			if set[frameField(f.path)], err = encodeJSON(codec, f); err != nil {
				err = fmt.Errorf("encode the frame %s: %w", f.path, err)
			}
		}
		return err == nil
	}
	m.each(write)
	for _, f := range m.shelf {
		if err != nil {
			break
		}
		write(f)
	}
	if err != nil {
		return nil, nil, err
	}
	for field, plain := range m.puts {
		stored := plain
		if codec != nil {
			if stored, err = codec.Encode(plain); err != nil {
				return nil, nil, fmt.Errorf("encode %s: %w", field, err)
			}
		}
		set[field] = stored
	}
	for field := range m.drops {
		if _, kept := set[field]; !kept {
			del = append(del, field)
		}
	}
	slices.Sort(del)
	return set, del, nil
}
