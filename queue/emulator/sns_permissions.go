package emulator

import "slices"

// topicActions are those that a topic's owner can let others do: SNS developer guide, "Amazon SNS API permissions".
var topicActions = []string{
	"AddPermission",
	"DeleteTopic",
	"GetTopicAttributes",
	"ListSubscriptionsByTopic",
	"Publish",
	"Receive",
	"RemovePermission",
	"SetTopicAttributes",
	"Subscribe",
}

// addTopicPermission adds a statement to the Policy of a topic.
func (s *Server) addTopicPermission(c *call, f form) (nothing, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nothing{}, err
	}
	label, accounts, actions := f.Get("Label"), f.values("AWSAccountId.member"), f.values("ActionName.member")
	switch {
	case !permissionLabel.MatchString(label):
		return nothing{}, errInvalidParameter("Label Reason: must be 1 to 80 alphanumeric characters, hyphens or underscores")
	case len(accounts) == 0:
		return nothing{}, errInvalidParameter("AWSAccountId Reason: no value for required parameter")
	case len(actions) == 0:
		return nothing{}, errInvalidParameter("ActionName Reason: no value for required parameter")
	}
	for _, id := range accounts {
		if !accountPattern.MatchString(id) {
			return nothing{}, errInvalidParameter("AWSAccountId Reason: %s is not twelve digits", clip(id))
		}
	}
	for _, action := range actions {
		if !slices.Contains(topicActions, action) {
			return nothing{}, errInvalidParameter("Policy statement action out of service scope!")
		}
	}
	return nothing{}, t.editPolicy(func(doc *policyDocument) *Error {
		if doc.index(label) >= 0 {
			return errInvalidParameter("Statement already exists")
		}
		doc.Statement = append(doc.Statement, mustMarshal(newPermission(label, t.key.arn(), accounts, "SNS:", actions)))
		return nil
	})
}

// removeTopicPermission takes a statement away, if it is there.
func (s *Server) removeTopicPermission(c *call, f form) (nothing, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nothing{}, err
	}
	label := f.Get("Label")
	if label == "" {
		return nothing{}, errInvalidParameter("Label Reason: no value for required parameter")
	}
	return nothing{}, t.editPolicy(func(doc *policyDocument) *Error {
		if i := doc.index(label); i >= 0 {
			doc.Statement = slices.Delete(doc.Statement, i, i+1)
		}
		return nil
	})
}

// editPolicy changes the Policy of a topic. One without statements is taken away.
func (t *topic) editPolicy(edit func(*policyDocument) *Error) *Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	doc, err := readPolicy(t.attrs["Policy"], "__default_policy_ID")
	if err != nil {
		return errInvalidParameter("Policy Reason: the topic's is not a policy document, and cannot be edited")
	}
	if err := edit(doc); err != nil {
		return err
	}
	text := mustMarshal(doc)
	switch {
	case len(doc.Statement) == 0:
		delete(t.attrs, "Policy")
	case len(text) > maxTopicSettingLen:
		return errInvalidParameter("Policy Reason: must be at most %d bytes long", maxTopicSettingLen)
	default:
		t.attrs["Policy"] = string(text)
	}
	return nil
}

// values returns the members of a list of texts.
func (f form) values(name string) []string {
	var out []string
	for _, p := range f.list(name) {
		out = append(out, f.Get(p))
	}
	return out
}
