package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"

	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/providers/file"
	"go.yaml.in/yaml/v3"
)

// nameRule is what an endpoint may be called in configuration: what an
// environment variable can spell, and a file needs no quotes for.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const nameHint = "want letters, digits, -, _ and ., starting with a letter or a digit"

// loadFile adds the layer of the file.
func (l *loader) loadFile(path string) {
	p := &fileParser{loader: l, name: path, keys: map[string]any{}}
	source := Source{Kind: SourceFile, Name: path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		l.problems.add(source, "", "is a directory; want a YAML file")
		return
	}
	err := l.k.Load(file.Provider(path), p, l.merge())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.problems.add(source, "", "does not exist")
	case err != nil && p.failed == nil:
		l.problems.errs = append(l.problems.errs, &Error{Source: source, Problem: "cannot be read", Err: err})
	}
}

// A fileParser is a koanf parser of YAML that knows the settings: it checks
// each key and value, and remembers their lines.
type fileParser struct {
	*loader
	name   string
	keys   map[string]any
	failed error
}

// Unmarshal returns the settings of the file. What is wrong with it goes to
// the loader's problems, so that all of it is reported.
func (p *fileParser) Unmarshal(data []byte) (map[string]any, error) {
	root, err := p.document(data)
	if err != nil {
		p.failed = err
		p.problems.errs = append(p.problems.errs, err)
		return nil, err
	}
	if root != nil {
		p.top(root)
	}
	return maps.Unflatten(p.keys, delimiter), nil
}

// Marshal makes the parser a koanf.Parser. Nothing calls it.
func (p *fileParser) Marshal(map[string]any) ([]byte, error) { return nil, errors.ErrUnsupported }

var yamlLine = regexp.MustCompile(`^yaml: line ([0-9]+): `)

func (p *fileParser) document(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil // an empty file
	}
	if err == nil {
		switch err = dec.Decode(&more); {
		case errors.Is(err, io.EOF):
			return follow(doc.Content[0]), nil
		case err == nil:
			return nil, &Error{Source: p.at(more.Line), Problem: "starts a second YAML document; want one"}
		}
	}
	source := p.at(0)
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		source.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	return nil, &Error{Source: source, Problem: "is not YAML: " + text, Err: nil}
}

func (p *fileParser) at(line int) Source { return Source{Kind: SourceFile, Name: p.name, Line: line} }

func (p *fileParser) top(root *yaml.Node) {
	p.mapping("", root, func(key string, keyNode, value *yaml.Node) {
		switch fields, ok := sections[key]; {
		case key == endpointsSection:
			p.endpoints(value)
		case key == filtersSection:
			p.filters(value)
		case key == watchSection:
			p.watch(value)
		case ok && key != "":
			p.section(key, fields, value)
		default:
			f, ok := findField(sections[""], key)
			if !ok {
				p.problems.add(p.at(keyNode.Line), "", "%q is not a setting; %s", key, hint(key, topKeys()))
				return
			}
			p.set(key, f, value)
		}
	})
}

func (p *fileParser) section(name string, fields []field, node *yaml.Node) {
	p.mapping(name, node, func(key string, keyNode, value *yaml.Node) {
		f, ok := findField(fields, key)
		if !ok {
			p.problems.add(p.at(keyNode.Line), shown(name), "has no setting %q; %s", key, hint(key, fieldNames(fields)))
			return
		}
		p.set(join(name, key), f, value)
	})
}

func (p *fileParser) endpoints(node *yaml.Node) {
	p.mapping(endpointsSection, node, func(name string, keyNode, value *yaml.Node) {
		if !nameRule.MatchString(name) {
			p.problems.add(p.at(keyNode.Line), "", "%q cannot name an endpoint; %s", name, nameHint)
			return
		}
		p.declared[name] = p.at(keyNode.Line)
		p.section(join(endpointsSection, name), endpointFields, value)
	})
}

// set keeps the value of one setting, unless it is null.
func (p *fileParser) set(key string, f field, node *yaml.Node) {
	line := node.Line
	node = follow(node)
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" {
		return
	}
	value, err := parseNode(f, node)
	if err != nil {
		p.refuse(p.at(line), shown(key), err)
		return
	}
	p.keys[key] = value
	p.sources[key] = p.at(line)
}

// mapping calls visit for each key of a mapping. Keys of a merge (<<) come
// last, and only where the mapping lacks them.
func (p *fileParser) mapping(key string, node *yaml.Node, visit func(key string, keyNode, value *yaml.Node)) {
	w := walk{fileParser: p, key: key, visit: visit, lines: map[string]int{}, merged: map[*yaml.Node]bool{}}
	w.mapping(node)
}

// A walk goes through one mapping and what it merges.
type walk struct {
	*fileParser
	key    string
	visit  func(key string, keyNode, value *yaml.Node)
	lines  map[string]int      // where each key was seen first
	merged map[*yaml.Node]bool // the mappings gone through, since a merge may be circular
}

func (w *walk) mapping(node *yaml.Node) {
	line := node.Line
	node = follow(node)
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		w.problems.add(w.at(line), shown(w.key), "is %s; want a mapping", nodeKind(node))
		return
	}
	if w.merged[node] {
		return
	}
	outermost := len(w.merged) == 0
	w.merged[node] = true
	var merges []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, value := node.Content[i], node.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if k.Kind != yaml.ScalarNode {
			w.problems.add(w.at(k.Line), shown(w.key), "has a key that is %s; want a text", nodeKind(follow(k)))
			continue
		}
		first, ok := w.lines[k.Value]
		switch {
		case !ok:
			w.lines[k.Value] = k.Line
			w.visit(k.Value, k, value)
		case outermost:
			w.problems.add(w.at(k.Line), shown(join(w.key, k.Value)), "is set twice; the first time on line %d", first)
		}
	}
	for _, m := range merges {
		if list := follow(m); list.Kind == yaml.SequenceNode {
			for _, item := range list.Content {
				w.mapping(item)
			}
			continue
		}
		w.mapping(m)
	}
}

// refuse reports a value, and each item of a list on its own line.
func (l *loader) refuse(s Source, key string, err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, err := range joined.Unwrap() {
			l.refuse(s, key, err)
		}
		return
	}
	var item *itemError
	if errors.As(err, &item) && s.Kind == SourceFile && item.line > 0 {
		s.Line = item.line
		key, err = fmt.Sprintf("%s[%d]", key, item.index), item.err
	}
	l.problems.add(s, key, "%v", err)
}
