package emulator

import (
	"encoding/json"
	"regexp"
	"slices"
)

// Bounds on policies: SQS developer guide, "Amazon SQS policy quotas".
const (
	maxPolicyActions    = 7
	maxPolicyPrincipals = 50
	maxPolicyStatements = 20
)

var permissionLabel = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// sharedActions are those that a queue's owner can let others do: SQS developer guide, "Amazon SQS API
// permissions". Letting somebody send, delete or change visibility includes batches of it.
var sharedActions = []string{
	"*",
	"ChangeMessageVisibility",
	"DeleteMessage",
	"GetQueueAttributes",
	"GetQueueUrl",
	"ListDeadLetterSourceQueues",
	"PurgeQueue",
	"ReceiveMessage",
	"SendMessage",
}

// ownActions are the others, which permissions of other accounts do not apply to: SQS API reference.
var ownActions = []string{
	"AddPermission",
	"CancelMessageMoveTask",
	"CreateQueue",
	"DeleteQueue",
	"ListMessageMoveTasks",
	"ListQueueTags",
	"ListQueues",
	"RemovePermission",
	"SetQueueAttributes",
	"StartMessageMoveTask",
	"TagQueue",
	"UntagQueue",
}

// A policyDocument is a Policy as AddPermission writes it. Statements that others wrote are kept as they are.
type policyDocument struct {
	Version   string
	ID        string `json:"Id,omitempty"`
	Statement []json.RawMessage
}

// permission is a statement as AddPermission writes it.
type permission struct {
	Sid       string
	Effect    string
	Principal struct{ AWS []string }
	Action    []string
	Resource  string
}

// newPermission returns what lets accounts do the actions of a service with a resource.
func newPermission(label, resource string, accounts []string, service string, actions []string) permission {
	p := permission{Sid: label, Effect: "Allow", Resource: resource}
	for _, id := range accounts {
		p.Principal.AWS = append(p.Principal.AWS, "arn:aws:iam::"+id+":root")
	}
	for _, action := range actions {
		p.Action = append(p.Action, service+action)
	}
	return p
}

type addPermissionInput struct {
	queueRef
	Label         string
	AWSAccountIds []string
	Actions       []string
}

func (in *addPermissionInput) fault() *Error {
	switch {
	case in.Label == "":
		return errMissingParameter("Label")
	case !permissionLabel.MatchString(in.Label):
		return errInvalidParameterValue("Value %s for parameter Label is invalid. Reason: Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.", clip(in.Label))
	case len(in.AWSAccountIds) == 0:
		return errMissingParameter("AWSAccountIds")
	case len(in.Actions) == 0:
		return errMissingParameter("Actions")
	case len(in.Actions) > maxPolicyActions:
		return errOverLimit("%d Actions were found, maximum allowed is %d.", len(in.Actions), maxPolicyActions)
	case len(in.AWSAccountIds) > maxPolicyPrincipals:
		return errOverLimit("%d Principals were found, maximum allowed is %d.", len(in.AWSAccountIds), maxPolicyPrincipals)
	}
	for _, id := range in.AWSAccountIds {
		if !accountPattern.MatchString(id) {
			return errInvalidParameterValue("Value %s for parameter PrincipalId is invalid. Reason: Unable to verify.", clip(id))
		}
	}
	for _, action := range in.Actions {
		if slices.Contains(sharedActions, action) {
			continue
		}
		if slices.Contains(ownActions, action) {
			return errInvalidParameterValue("Value SQS:%s for parameter ActionName is invalid. Reason: Only the queue owner is allowed to invoke this action.", action)
		}
		return errInvalidParameterValue("Value SQS:%s for parameter ActionName is invalid. Reason: Please refer to the appropriate WSDL for a list of valid actions.", clip(action))
	}
	return nil
}

func (s *Server) addPermission(c *call, in *addPermissionInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	if err := in.fault(); err != nil {
		return nothing{}, err
	}
	p := newPermission(in.Label, q.arn, in.AWSAccountIds, "SQS:", in.Actions)
	return nothing{}, s.editPolicy(q, func(doc *policyDocument) *Error {
		if doc.index(in.Label) >= 0 {
			return errInvalidParameterValue("Value %s for parameter Label is invalid. Reason: Already exists.", in.Label)
		}
		if len(doc.Statement) >= maxPolicyStatements {
			return errOverLimit("A policy has at most %d statements.", maxPolicyStatements)
		}
		doc.Statement = append(doc.Statement, mustMarshal(p))
		return nil
	})
}

type removePermissionInput struct {
	queueRef
	Label string
}

func (s *Server) removePermission(c *call, in *removePermissionInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	if in.Label == "" {
		return nothing{}, errMissingParameter("Label")
	}
	return nothing{}, s.editPolicy(q, func(doc *policyDocument) *Error {
		i := doc.index(in.Label)
		if i < 0 {
			return errInvalidParameterValue("Value %s for parameter Label is invalid. Reason: can't find label on existing policy.", clip(in.Label))
		}
		doc.Statement = slices.Delete(doc.Statement, i, i+1)
		return nil
	})
}

// editPolicy changes the Policy of a queue. One without statements is taken away.
func (s *Server) editPolicy(q *queue, edit func(*policyDocument) *Error) *Error {
	s.making.Lock() // as for all settings
	defer s.making.Unlock()
	doc, err := readPolicy(q.settings().text["Policy"], q.arn+"/SQSDefaultPolicy")
	if err != nil {
		return err
	}
	if err := edit(doc); err != nil {
		return err
	}
	text := ""
	if len(doc.Statement) > 0 {
		text = string(mustMarshal(doc))
	}
	set, err := q.settings().with(map[string]string{"Policy": text})
	if err != nil {
		return err
	}
	now := q.clock.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.set, q.modified = set, now
	return nil
}

// readPolicy reads a Policy. An empty text is one of an id without statements.
func readPolicy(text, id string) (*policyDocument, *Error) {
	if text == "" {
		return &policyDocument{Version: "2012-10-17", ID: id}, nil
	}
	var fields struct {
		Version, ID string
		Statement   json.RawMessage
	}
	doc := new(policyDocument)
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return nil, errUnsupported("The Policy is not a policy document, and cannot be edited.")
	}
	doc.Version, doc.ID = fields.Version, fields.ID
	if len(fields.Statement) == 0 {
		return doc, nil
	}
	if err := json.Unmarshal(fields.Statement, &doc.Statement); err != nil {
		doc.Statement = []json.RawMessage{fields.Statement} // a single one may stand without a list
	}
	return doc, nil
}

// index returns which statement has a label, -1 if none has.
func (d *policyDocument) index(label string) int {
	return slices.IndexFunc(d.Statement, func(raw json.RawMessage) bool {
		var s struct{ Sid string }
		return json.Unmarshal(raw, &s) == nil && s.Sid == label
	})
}
