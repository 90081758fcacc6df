package config

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/waybill-dev/waybill/pipeline"
)

const (
	filtersSection = "filters"
	filterPrefix   = "WAYBILL_FILTERS_"
	outletsKey     = "outlets"
)

// filterFields are the settings of one filter. Their variables are
// WAYBILL_FILTERS_<NAME>_<FIELD>.
var filterFields = []field{
	{name: "from"},
	{name: "to", kind: kindTexts},
}

// Wiring returns the routes that the configuration gives filters, for
// pipeline.Config. It is nil where there are none.
func (c *Config) Wiring() pipeline.Wiring { return maps.Clone(c.wiring) }

// filters reads that section of the file.
func (p *fileParser) filters(node *yaml.Node) {
	p.mapping(filtersSection, node, func(name string, keyNode, value *yaml.Node) {
		if !nameRule.MatchString(name) {
			p.problems.add(p.at(keyNode.Line), "", "%q cannot name a filter; %s", name, nameHint)
			return
		}
		p.filterNames[name] = true
		section := join(filtersSection, name)
		p.mapping(section, value, func(key string, keyNode, value *yaml.Node) {
			f, ok := findField(filterFields, key)
			switch {
			case ok:
				p.set(join(section, key), f, value)
			case key == outletsKey:
				p.outlets(join(section, key), value)
			default:
				p.problems.add(p.at(keyNode.Line), shown(section), "has no setting %q; %s", key,
					hint(key, append(fieldNames(filterFields), outletsKey)))
			}
		})
	})
}

func (p *fileParser) outlets(section string, node *yaml.Node) {
	p.mapping(section, node, func(name string, keyNode, value *yaml.Node) {
		if !nameRule.MatchString(name) {
			p.problems.add(p.at(keyNode.Line), shown(section), "%q cannot name an outlet; %s", name, nameHint)
			return
		}
		p.set(join(section, name), field{name: name, kind: kindTexts}, value)
	})
}

// filterVariable finds the setting that WAYBILL_FILTERS_<NAME>_<FIELD> sets. A
// filter that the file names comes first; any other is in lower case with - for
// _.
func (l *loader) filterVariable(source Source) (string, field, bool) {
	for _, f := range filterFields {
		name, ok := strings.CutSuffix(strings.TrimPrefix(source.Name, filterPrefix), "_"+strings.ToUpper(f.name))
		if !ok || name == "" {
			continue
		}
		var meant []string
		for filter := range l.filterNames {
			if variableName(filter) == name {
				meant = append(meant, filter)
			}
		}
		slices.Sort(meant)
		switch len(meant) {
		case 0:
			meant = []string{strings.ToLower(strings.ReplaceAll(name, "_", "-"))}
		case 1:
		default:
			l.problems.add(source, "", "may mean the filters %s; rename one, or set it in the file", strings.Join(meant, " or "))
			return "", field{}, false
		}
		return join(filtersSection, meant[0], f.name), f, true
	}
	l.problems.add(source, "", "ends in no setting of a filter; want %s<NAME>_FROM or %s<NAME>_TO", filterPrefix, filterPrefix)
	return "", field{}, false
}

// variableName is a name as the environment spells it.
func variableName(name string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// checkWiring reports routes to endpoints that are not configured.
func (l *loader) checkWiring(wiring pipeline.Wiring, endpoints []string) {
	check := func(key, endpoint string) {
		switch {
		case endpoint == "" || slices.Contains(endpoints, endpoint):
		case len(endpoints) == 0:
			l.problems.add(l.sources[key], shown(key), "%q is not an endpoint; none is configured under endpoints", endpoint)
		default:
			l.problems.add(l.sources[key], shown(key), "%q is not an endpoint; %s", endpoint, hint(endpoint, endpoints))
		}
	}
	for name, r := range wiring {
		key := join(filtersSection, name)
		check(join(key, "from"), r.From)
		for _, to := range r.To {
			check(join(key, "to"), to)
		}
		for outlet, list := range r.Outlets {
			for _, to := range list {
				check(join(key, outletsKey, outlet), to)
			}
		}
	}
}

// wiringValues lists the settings of filters.
func (c *Config) wiringValues() []Value {
	var list []Value
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		if strings.HasPrefix(key, filtersSection+delimiter) {
			list = append(list, c.value(key, nil))
		}
	}
	return list
}
