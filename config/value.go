package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/waybill-dev/waybill/queue"
)

// parseText reads a value of the environment or of an option. What it returns
// has the type of the kind.
func parseText(f field, text string) (any, error) {
	switch f.kind {
	case kindTexts, kindSubscriptions:
		if f.kind == kindTexts && !strings.HasPrefix(strings.TrimSpace(text), "[") {
			return splitList(text), nil
		}
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) == 0 {
			return nil, fmt.Errorf("is not a list; want YAML or JSON, as in %s", example(f.kind))
		}
		return parseNode(f, doc.Content[0])
	default:
		return parseScalar(f.kind, text)
	}
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// parseNode reads a value of the file.
func parseNode(f field, node *yaml.Node) (any, error) {
	node = follow(node)
	switch f.kind {
	case kindTexts:
		return parseTexts(node)
	case kindSubscriptions:
		return parseSubscriptions(node)
	}
	if node.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("is %s; want %s", nodeKind(node), example(f.kind))
	}
	return parseScalar(f.kind, node.Value)
}

func parseScalar(k kind, text string) (any, error) {
	switch k {
	case kindNumber:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("is %q; want %s", text, example(k))
		}
		return n, nil
	case kindBool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("is %q; want %s", text, example(k))
		}
		return b, nil
	case kindDuration:
		d, err := parseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("is %q; want %s", text, example(k))
		}
		return d, nil
	case kindSecret:
		return Secret(text), nil
	default:
		return text, nil
	}
}

func example(k kind) string {
	switch k {
	case kindNumber:
		return "a whole number"
	case kindBool:
		return "true or false"
	case kindDuration:
		return "a duration with its unit, such as 30s, 15m, 12h or 14d"
	case kindTexts:
		return "[fare, distance]"
	case kindSubscriptions:
		return "[{endpoint: accounting, filter: {success: [\"true\"]}}]"
	default:
		return "a text"
	}
}

var dayRule = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// parseDuration reads what [time.ParseDuration] does, and days before it:
// 14d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	m := dayRule.FindStringSubmatch(text)
	if m == nil {
		return time.ParseDuration(text)
	}
	days, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	d := time.Duration(days) * 24 * time.Hour
	if m[2] == "" {
		return d, nil
	}
	rest, err := time.ParseDuration(m[2])
	if err != nil || rest < 0 {
		return 0, errors.New("not a duration")
	}
	return d + rest, nil
}

// formatDuration writes a duration as [parseDuration] reads it, without the
// zero units of [time.Duration.String]: 14d, 1h30m, 30s.
func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d <= 0 || d%time.Second != 0 {
		return d.String()
	}
	var b strings.Builder
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
			d %= unit.size
		}
	}
	return b.String()
}

func parseTexts(node *yaml.Node) (any, error) {
	if node.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("is %s; want a list, as in %s", nodeKind(node), example(kindTexts))
	}
	list := make([]string, 0, len(node.Content))
	for _, item := range node.Content {
		item = follow(item)
		if item.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("has %s as an item; want texts, as in %s", nodeKind(item), example(kindTexts))
		}
		list = append(list, item.Value)
	}
	return list, nil
}

// parseSubscriptions reads the list of a topic's subscriptions.
func parseSubscriptions(node *yaml.Node) (any, error) {
	if node.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("is %s; want a list, as in %s", nodeKind(node), example(kindSubscriptions))
	}
	var (
		list []queue.Subscription
		errs []error
	)
	for i, item := range node.Content {
		s, err := parseSubscription(follow(item))
		if err != nil {
			errs = append(errs, &itemError{line: item.Line, index: i, err: err})
		}
		list = append(list, s)
	}
	return list, errors.Join(errs...)
}

// An itemError says which item of a list is wrong.
type itemError struct {
	line, index int
	err         error
}

func (e *itemError) Error() string { return fmt.Sprintf("(item %d) %v", e.index+1, e.err) }

func parseSubscription(node *yaml.Node) (s queue.Subscription, err error) {
	if node.Kind != yaml.MappingNode {
		return s, fmt.Errorf("is %s; want a mapping, as in %s", nodeKind(node), example(kindSubscriptions))
	}
	set := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, follow(node.Content[i+1])
		if set[key] {
			return s, fmt.Errorf("has %s twice", key)
		}
		set[key] = true
		if value.ShortTag() == "!!null" {
			continue
		}
		switch key {
		case "endpoint":
			s.Endpoint, err = textOf(key, value)
		case "enveloped":
			var b any
			if b, err = parseNode(field{kind: kindBool}, value); err == nil {
				s.Enveloped = b.(bool)
			} else {
				err = fmt.Errorf("%s %w", key, err)
			}
		case "filter":
			s.Filter, err = parseFilter(value)
		case "filter_scope":
			s.FilterScope, err = textOf(key, value)
		default:
			err = fmt.Errorf("has the unknown key %q; %s", key, hint(key, subscriptionFields))
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func textOf(key string, node *yaml.Node) (string, error) {
	if node.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("%s is %s; want a text", key, nodeKind(node))
	}
	return node.Value, nil
}

// parseFilter turns a filter policy into JSON. A text is taken to be JSON
// already, so that a policy can be pasted.
func parseFilter(node *yaml.Node) (json.RawMessage, error) {
	var text []byte
	switch {
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str":
		text = []byte(node.Value)
	default:
		keepDates(node)
		var value any
		if err := node.Decode(&value); err != nil {
			return nil, fmt.Errorf("filter cannot be read: %w", err)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			return nil, errors.New("filter has a key or a value that JSON lacks; keys are texts, and numbers finite")
		}
		text = b.Bytes()
	}
	var policy map[string]json.RawMessage
	if err := json.Unmarshal(text, &policy); err != nil || policy == nil {
		return nil, errors.New(`filter is not a JSON object; want an SNS filter policy, as in {success: ["true"]}`)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return compact.Bytes(), nil
}

// keepDates makes what YAML would read as a date the text that it is in JSON.
func keepDates(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!timestamp" {
		node.SetString(node.Value)
	}
	for _, n := range node.Content {
		keepDates(n)
	}
}

// follow returns the node that an alias stands for.
func follow(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func nodeKind(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%q", node.Value)
	}
}
