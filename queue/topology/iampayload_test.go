package topology_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/s3payload"
	"github.com/waybill-dev/waybill/queue/topology"
)

// A bucketGuard is a bucket that lets who comes do what a policy allows. Like S3, it
// says that an object is not there only to those who may list what is below its key.
type bucketGuard struct {
	policy  *topology.Policy
	objects map[string][]byte
	used    []string
	denied  []string
}

// allowed looks for a statement that allows an action, on a resource and for a
// prefix of a list.
func (g *bucketGuard) allowed(action, resource, prefix string) bool {
	like := func(pattern, text string) bool {
		begin, ok := strings.CutSuffix(pattern, "*")
		return ok && strings.HasPrefix(text, begin) || pattern == text
	}
	for _, s := range g.policy.Statement {
		fits := slices.ContainsFunc(s.Resource, func(r string) bool { return r != "*" && like(r, resource) })
		pattern, bound := s.Condition["StringLike"]["s3:prefix"]
		if slices.Contains(s.Action, action) && fits && (!bound || like(pattern, prefix)) {
			g.used = append(g.used, action)
			return true
		}
	}
	g.denied = append(g.denied, action+" "+resource)
	return false
}

func (g *bucketGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<Error><Code>%s</Code></Error>`, code)
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	object := "arn:aws:s3:::" + bucket + "/" + key
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	payload, there := g.objects[object]
	switch {
	case key == "" && r.URL.Query().Has("lifecycle"):
		if !g.allowed("s3:GetLifecycleConfiguration", "arn:aws:s3:::"+bucket, "") {
			refuse(http.StatusForbidden, "AccessDenied")
			return
		}
		fmt.Fprint(w, `<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>42</Days></Expiration></Rule></LifecycleConfiguration>`)
	case r.Method == http.MethodPut && g.allowed("s3:PutObject", object, ""):
		g.objects[object] = body
	case r.Method == http.MethodGet && g.allowed("s3:GetObject", object, "") && there:
		_, _ = w.Write(payload)
	case r.Method == http.MethodGet && !there && g.allowed("s3:ListBucket", "arn:aws:s3:::"+bucket, key):
		refuse(http.StatusNotFound, "NoSuchKey")
	default:
		refuse(http.StatusForbidden, "AccessDenied")
	}
}

func (g *bucketGuard) store(t *testing.T) *s3payload.Store {
	t.Helper()
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	store, err := s3payload.New(s3payload.Config{Bucket: "rides-payloads", Client: s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func payloadPolicy(t *testing.T, role topology.Role, b topology.PayloadBucket, cfg topology.PolicyConfig) *topology.Policy {
	t.Helper()
	cfg.Payloads = &b
	policy, err := topology.LeastPolicy(endpoints(t, "", rides()...), role, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// A role can do with payloads what it is for, and each action that its policy
// allows is used.
func TestLeastPolicyPayloads(t *testing.T) {
	for role, does := range map[topology.Role]struct{ put, get, check bool }{
		topology.RoleWorker: {put: true, get: true}, topology.RolePublisher: {put: true}, topology.RoleConsumer: {get: true},
		topology.RoleOperator: {put: true, get: true}, topology.RoleViewer: {check: true}, topology.RoleTopology: {check: true},
	} {
		t.Run(string(role), func(t *testing.T) {
			policy := payloadPolicy(t, role, topology.PayloadBucket{Bucket: "rides-payloads", Prefix: s3payload.DefaultPrefix},
				topology.PolicyConfig{Region: "us-east-1", Account: "000000000000"})
			g := &bucketGuard{policy: policy, objects: map[string][]byte{"arn:aws:s3:::rides-payloads/waybill/payload/k": []byte("x")}}
			store := g.store(t)
			if does.put {
				if err := store.Put(t.Context(), "k", []byte("x"), time.Hour); err != nil {
					t.Error(err)
				}
			}
			if does.get {
				if _, err := store.Get(t.Context(), "k", 10); err != nil {
					t.Error(err)
				}
				if _, err := store.Get(t.Context(), "none", 10); !errors.Is(err, queue.ErrPayloadGone) {
					t.Errorf("a payload that is gone: %v", err)
				}
			}
			if does.check {
				if err := store.CheckLifecycle(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if len(g.denied) > 0 {
				t.Errorf("denied was %q", g.denied)
			}
			for _, s := range policy.Statement {
				for _, a := range s.Action {
					if strings.HasPrefix(a, "s3:") && !slices.Contains(g.used, a) {
						t.Errorf("%s was never used", a)
					}
				}
			}
		})
	}
}

func TestPolicyOfPayloads(t *testing.T) {
	own := topology.PolicyConfig{Region: "eu-west-1", Account: "111122223333"}
	const role = "arn:aws:iam::444455556666:role/payloads"
	at := queue.Place{RoleARN: role, Region: "cn-north-1"}
	for _, tt := range []struct {
		name      string
		role      topology.Role
		bucket    topology.PayloadBucket
		cfg       topology.PolicyConfig
		want, bad []string
	}{
		{"access point", topology.RoleWorker, topology.PayloadBucket{Bucket: "arn:aws:s3:eu-west-1:111122223333:accesspoint/p", Prefix: "a/"}, own,
			[]string{`"arn:aws:s3:eu-west-1:111122223333:accesspoint/p/object/a/*"`, `"arn:aws:s3:eu-west-1:111122223333:accesspoint/p"`}, []string{"s3:::"}},
		{"characters that match others", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", Prefix: "$a*b?/"}, own,
			[]string{`"arn:aws:s3:::b12/${$}a${*}b${?}/*"`, `"s3:prefix": "${$}a${*}b${?}/*"`}, nil},
		{"key of a publisher", topology.RolePublisher, topology.PayloadBucket{Bucket: "b12", KMSKey: "1234-abcd"}, own,
			[]string{`"arn:aws:kms:eu-west-1:111122223333:key/1234-abcd"`, "kms:GenerateDataKey"}, []string{"kms:Decrypt", "s3:GetObject", "s3:ListBucket"}},
		{"alias of a consumer", topology.RoleConsumer, topology.PayloadBucket{Bucket: "b12", KMSKey: "alias/payloads"}, own,
			[]string{`"kms:ResourceAliases": "alias/payloads"`, "kms:Decrypt"}, []string{"kms:GenerateDataKey", "s3:PutObject"}},
		{"ARN of an alias", topology.RoleOperator, topology.PayloadBucket{Bucket: "b12", KMSKey: "arn:aws:kms:eu-west-1:111122223333:alias/payloads"}, own,
			[]string{`"kms:ResourceAliases": "alias/payloads"`, "kms:Decrypt", "kms:GenerateDataKey"}, []string{":alias/"}},
		{"ARN of a key", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", KMSKey: "arn:aws:kms:eu-west-1:999999999999:key/k"}, own,
			[]string{`"arn:aws:kms:eu-west-1:999999999999:key/k"`}, nil},
		{"AWS's key", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", KMSKey: "alias/aws/s3"}, own, nil, []string{"kms:"}},
		{"viewer", topology.RoleViewer, topology.PayloadBucket{Bucket: "b12", KMSKey: "alias/payloads"}, own,
			[]string{"s3:GetLifecycleConfiguration", `"arn:aws:s3:::b12"`}, []string{"kms:", "s3:GetObject", "s3:PutObject"}},
		{"viewer of an access point, which has no rules", topology.RoleViewer, topology.PayloadBucket{Bucket: "arn:aws:s3:eu-west-1:111122223333:accesspoint/p", Place: at}, own,
			nil, []string{"s3:", "sts:"}},
		{"role of the bucket, for the program", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", Place: at}, own,
			[]string{`"sts:AssumeRole"`, role}, []string{"s3:"}},
		{"role of the bucket", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", KMSKey: "k", Place: at}, topology.PolicyConfig{RoleARN: role},
			[]string{`"arn:aws-cn:s3:::b12/*"`, `"arn:aws-cn:kms:cn-north-1:444455556666:key/k"`}, []string{"sts:", "sqs:"}},
		{"profile of the bucket, for the program", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", Place: queue.Place{Profile: "p"}}, own, nil, []string{"s3:", "sts:"}},
		{"profile of the bucket", topology.RoleWorker, topology.PayloadBucket{Bucket: "b12", Place: queue.Place{Profile: "p"}}, topology.PolicyConfig{Profile: "p"},
			[]string{`"arn:aws:s3:::b12/*"`}, []string{"sqs:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "\t")
			if err := enc.Encode(payloadPolicy(t, tt.role, tt.bucket, tt.cfg)); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(got.String(), want) {
					t.Errorf("the policy has no %s:\n%s", want, got.String())
				}
			}
			for _, bad := range tt.bad {
				if strings.Contains(got.String(), bad) {
					t.Errorf("the policy has %s:\n%s", bad, got.String())
				}
			}
		})
	}
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "kafka://a"})
	for want, cfg := range map[string]topology.PolicyConfig{
		"no region is known for the key k":                 {Account: "111122223333"},
		`the account of the key k is ""`:                   {Region: "eu-west-1"},
		`no endpoint has the role "" and the profile "zz"`: {Region: "eu-west-1", Profile: "zz"},
	} {
		cfg.Payloads = &topology.PayloadBucket{Bucket: "b12", KMSKey: "k"}
		if _, err := topology.LeastPolicy(set, topology.RoleWorker, cfg); !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}
