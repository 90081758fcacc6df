package eventpattern

// object is what a pattern asks of one JSON object. All of it must hold, of the same object: that keeps
// fields of different elements of an array from combining.
type object struct {
	leaves  []leaf
	objects map[string]*object
}

// leaf is what a pattern asks of one field: that one of its values satisfies one of the rules.
type leaf struct {
	name   string
	path   []string // from the root
	rules  []rule
	absent bool // one of the rules is {"exists": false}
}

// rule is one element of a field's array in a pattern. It is asked about a value that is neither an array
// nor an object: a string, a json.Number, a bool or nil.
type rule interface{ match(v any) bool }

// match reports whether v is, or is an array that holds, an object of which all holds. Something else, and
// an empty array, count as an object without fields.
func (o *object) match(v any, root map[string]any) bool {
	switch v := v.(type) {
	case map[string]any:
		return o.matchFields(v, root)
	case []any:
		for _, element := range v {
			if o.match(element, root) {
				return true
			}
		}
		if len(v) > 0 {
			return false
		}
	}
	return o.matchFields(nil, root)
}

func (o *object) matchFields(fields, root map[string]any) bool {
	for i := range o.leaves {
		if !o.leaves[i].match(fields, root) {
			return false
		}
	}
	for name, child := range o.objects {
		if !child.match(fields[name], root) {
			return false
		}
	}
	return true
}

func (l *leaf) match(fields, root map[string]any) bool {
	if v, ok := fields[l.name]; ok && l.matchValue(v) {
		return true
	}
	// Absence is of the whole event, not of one element of an array: so does Event Ruler, whose machine
	// asks the flattened event.
	return l.absent && !present(root, l.path)
}

func (l *leaf) matchValue(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return false
	case []any:
		for _, element := range v {
			if l.matchValue(element) {
				return true
			}
		}
		return false
	}
	for _, r := range l.rules {
		if r.match(v) {
			return true
		}
	}
	return false
}

// present reports whether a value that is neither an object nor an array stands at path.
func present(v any, path []string) bool {
	switch v := v.(type) {
	case map[string]any:
		if len(path) == 0 {
			return false
		}
		child, ok := v[path[0]]
		return ok && present(child, path[1:])
	case []any:
		for _, element := range v {
			if present(element, path) {
				return true
			}
		}
		return false
	}
	return len(path) == 0
}
