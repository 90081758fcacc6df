package dlq

import "slices"

// recordedFailures returns the first failures, with short texts: an audit record
// has room for so much.
func recordedFailures(failures []Failure) []Failure {
	all := slices.Clone(failures[:min(len(failures), maxKeptFailures)])
	for i, f := range all {
		all[i].ID, all[i].Error = kept(f.ID), kept(f.Error)
	}
	return all
}

func filterText(f *Filter) string {
	if f == nil {
		return ""
	}
	return f.String()
}
