package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
)

// loadEnviron adds the layer of the environment. An empty variable counts as
// unset.
func (l *loader) loadEnviron(environ []string) {
	variables := map[string]string{}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok && value != "" {
			variables[name] = value
		}
	}
	names := l.endpointVariables()
	provider := env.Provider(delimiter, env.Opt{
		EnvironFunc: func() []string {
			list := make([]string, 0, len(variables))
			for _, name := range slices.Sorted(maps.Keys(variables)) {
				list = append(list, name+"="+variables[name])
			}
			return list
		},
		TransformFunc: func(name, text string) (string, any) {
			source := Source{Kind: SourceEnv, Name: name}
			key, f, ok := l.variable(source, variables, names)
			if !ok {
				return "", nil
			}
			value, err := parseText(f, text)
			if err != nil {
				l.refuse(source, "("+shown(key)+")", err)
				return "", nil
			}
			l.sources[key] = source
			return key, value
		},
	})
	if err := l.k.Load(provider, nil, l.merge()); err != nil {
		l.problems.errs = append(l.problems.errs, err)
	}
}

// variable finds the setting that an environment variable sets. It reports a
// variable that looks like a mistaken one of ours, and leaves all others alone.
func (l *loader) variable(source Source, variables map[string]string, names map[string][]target) (string, field, bool) {
	if strings.HasPrefix(source.Name, endpointPrefix) {
		return l.endpointVariable(source, names)
	}
	if strings.HasPrefix(source.Name, filterPrefix) {
		return l.filterVariable(source)
	}
	known := []string{fileVariable}
	for section, fields := range sections {
		for _, f := range fields {
			rank := slices.Index(f.env, source.Name)
			if rank >= 0 {
				stronger := slices.ContainsFunc(f.env[:rank], func(v string) bool { return variables[v] != "" })
				return join(section, f.name), f, !stronger
			}
			known = append(known, f.env...)
		}
	}
	if strings.HasPrefix(source.Name, "WAYBILL_") && source.Name != fileVariable {
		slices.Sort(known)
		if near := nearest(source.Name, known, 2); near != "" {
			l.problems.add(source, "", "is not a setting; did you mean %s?", near)
		} else if strings.HasPrefix(source.Name, payloadsPrefix) {
			l.problems.add(source, "", "ends in no setting of payloads; want %s<SETTING>, where the setting is one of %s",
				payloadsPrefix, strings.ToUpper(strings.Join(fieldNames(sections[payloadsSection]), ", ")))
		}
	}
	return "", field{}, false
}

// A target is a setting of an endpoint that a variable may mean.
type target struct {
	endpoint string
	field    field
}

// endpointVariables returns what each possible variable of the endpoints that
// file and options name would set.
func (l *loader) endpointVariables() map[string][]target {
	names := map[string][]target{}
	for name := range l.declared {
		for _, f := range endpointFields {
			v := endpointVariableName(name, f)
			names[v] = append(names[v], target{name, f})
		}
	}
	return names
}

// endpointVariableName returns WAYBILL_ENDPOINTS_FARES_COMPLETED_URL for the
// URL of fares-completed, fares.completed and fares_completed.
func endpointVariableName(endpoint string, f field) string {
	return endpointPrefix + variableName(endpoint) + "_" + strings.ToUpper(f.name)
}

// endpointVariable finds the setting that WAYBILL_ENDPOINTS_<NAME>_<FIELD>
// sets. Endpoints that the file or an option names come first. Any other name
// makes an endpoint: in lower case, with - for _, and the longest field that
// fits.
func (l *loader) endpointVariable(source Source, names map[string][]target) (string, field, bool) {
	switch targets := names[source.Name]; len(targets) {
	case 0:
	case 1:
		t := targets[0]
		return join(endpointsSection, t.endpoint, t.field.name), t.field, true
	default:
		var keys []string
		for _, t := range targets {
			keys = append(keys, shown(join(endpointsSection, t.endpoint, t.field.name)))
		}
		slices.Sort(keys)
		l.problems.add(source, "", "may mean %s; rename an endpoint, or set it in the file", strings.Join(keys, " or "))
		return "", field{}, false
	}
	rest := strings.TrimPrefix(source.Name, endpointPrefix)
	var best target
	for _, f := range endpointFields {
		name, ok := strings.CutSuffix(rest, "_"+strings.ToUpper(f.name))
		if ok && len(f.name) > len(best.field.name) {
			best = target{strings.ToLower(strings.ReplaceAll(name, "_", "-")), f}
		}
	}
	if best.field.name == "" {
		if near := nearestVariable(rest); near != "" {
			l.problems.add(source, "", "ends in no setting of an endpoint; did you mean %s%s?", endpointPrefix, near)
			return "", field{}, false
		}
		l.problems.add(source, "", "ends in no setting of an endpoint; want %s<NAME>_<SETTING>, where the setting is one of %s",
			endpointPrefix, strings.ToUpper(strings.Join(fieldNames(endpointFields), ", ")))
		return "", field{}, false
	}
	if !nameRule.MatchString(best.endpoint) {
		l.problems.add(source, "", "names no endpoint; want %s<NAME>_%s", endpointPrefix, strings.ToUpper(best.field.name))
		return "", field{}, false
	}
	if _, ok := l.invented[best.endpoint]; !ok {
		l.invented[best.endpoint] = source
	}
	return join(endpointsSection, best.endpoint, best.field.name), best.field, true
}

// nearestVariable returns what follows the prefix of the variable that <NAME>_<SETTING>
// is a slip for, if there is one. A name may have a _, so the longest setting counts.
func nearestVariable(rest string) string {
	var known []string
	for _, f := range endpointFields {
		known = append(known, strings.ToUpper(f.name))
	}
	for i, c := range rest {
		if c != '_' {
			continue
		}
		setting := rest[i+1:]
		if near := nearest(setting, known, max(1, min(2, len(setting)/3))); near != "" {
			return rest[:i+1] + near
		}
	}
	return ""
}
