package v1alpha1_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

func source(change func(*v1alpha1.GitSourceSpec)) *v1alpha1.GitSource {
	o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.GitSourceSpec{URL: "/srv/git/cluster.git"}}
	if change != nil {
		change(&o.Spec)
	}
	v1alpha1.SetDefaultsGitSource(o)
	return o
}

var key = &v1alpha1.SecretReference{Namespace: "kube-system", Name: "git"}

func verification() *v1alpha1.VerificationSpec {
	return &v1alpha1.VerificationSpec{Signers: []v1alpha1.SignerSet{{ConfigMapRef: &v1alpha1.ConfigMapReference{Namespace: "kube-system", Name: "signers"}}}}
}

func tenants(change func(*v1alpha1.Tenant)) []v1alpha1.Tenant {
	t := v1alpha1.Tenant{Name: "a", Paths: []string{"teams/a/**"}, ServiceAccountName: "deployer", Namespaces: []string{"a", "a-*"}}
	if change != nil {
		change(&t)
	}
	return []v1alpha1.Tenant{t}
}

func forge(change func(*v1alpha1.ForgeSpec)) *v1alpha1.ForgeSpec {
	f := &v1alpha1.ForgeSpec{Statuses: true, SecretRef: *key}
	if change != nil {
		change(f)
	}
	return f
}

func TestValidateGitSource(t *testing.T) {
	t.Parallel()
	type spec = v1alpha1.GitSourceSpec
	for name, c := range map[string]struct {
		change func(*spec)
		want   string // part of the message; empty: valid
	}{
		"local path":         {nil, ""},
		"https":              {func(s *spec) { s.URL = "https://example.org/a.git" }, ""},
		"file":               {func(s *spec) { s.URL = "file:///srv/a.git" }, ""},
		"no url":             {func(s *spec) { s.URL = "" }, "spec.url: Required"},
		"http":               {func(s *spec) { s.URL = "http://example.org/a" }, "must use https"},
		"ext transport":      {func(s *spec) { s.URL = "ext::sh -c id" }, "spec.url"},
		"credentials in url": {func(s *spec) { s.URL = "https://jane:secret@example.org/a" }, "secretRef"},
		"dots in local path": {func(s *spec) { s.URL = "/srv/../etc" }, "clean path"},
		"approval":           {func(s *spec) { s.Approval = v1alpha1.ApprovalSpec{Required: "destructive", MaxDeletes: 3} }, ""},
		"approval by several": {func(s *spec) {
			s.Approval = v1alpha1.ApprovalSpec{Required: "always", Count: 2, NotAuthor: true, Expires: &metav1.Duration{Duration: time.Hour}}
		}, ""},
		"approval by too many":        {func(s *spec) { s.Approval = v1alpha1.ApprovalSpec{Required: "always", Count: 11} }, "spec.approval.count: Invalid"},
		"fallback":                    {func(s *spec) { s.URL, s.Fallback = "https://example.org/a.git", "/srv/a.bundle" }, ""},
		"fallback elsewhere":          {func(s *spec) { s.URL, s.Fallback = "https://example.org/a.git", "a.bundle" }, "spec.fallback: Invalid"},
		"fallback of a path":          {func(s *spec) { s.URL, s.Fallback = "/srv/a.git", "/srv/a.bundle" }, "spec.fallback: Forbidden"},
		"approval by several of none": {func(s *spec) { s.Approval = v1alpha1.ApprovalSpec{Count: 2} }, "spec.approval: Forbidden"},
		"approval that ends at once": {func(s *spec) {
			s.Approval = v1alpha1.ApprovalSpec{Required: "always", Expires: &metav1.Duration{Duration: time.Second}}
		}, "spec.approval.expires: Invalid"},
		"keys of tenants":             {func(s *spec) { s.Tenants = keyed("a/age", "platform/b") }, ""},
		"one key for two":             {func(s *spec) { s.Tenants = keyed("platform/age", "platform/age") }, `has the keys of the tenant "b"`},
		"keys in another's namespace": {func(s *spec) { s.Tenants = keyed("b/age", "platform/b") }, `tenants[0].decryption.secretRef.namespace: Invalid value: "b": is a namespace of the tenant "b"`},
		"the source's keys": {func(s *spec) {
			s.Tenants = keyed("a/age", "platform/b")
			s.Decryption = s.Tenants[1].Decryption
		}, "spec.tenants[1].decryption.secretRef: Invalid"},
		"notification of objects": {func(s *spec) {
			s.Notifications = []v1alpha1.Notification{{Name: "a", SecretRef: v1alpha1.SecretReference{Namespace: "a", Name: "b"}, Severity: "error",
				Objects: []v1alpha1.NotificationObjects{{Kinds: []string{"Deployment.apps"}, Namespaces: []string{"shop-*"}}}}}
		}, ""},
		"notification of nothing": {func(s *spec) {
			s.Notifications = []v1alpha1.Notification{{Name: "a", SecretRef: v1alpha1.SecretReference{Namespace: "a", Name: "b"},
				Objects: []v1alpha1.NotificationObjects{{}}}}
		}, "objects[0]: Required"},
		"notification by a bad pattern": {func(s *spec) {
			s.Notifications = []v1alpha1.Notification{{Name: "a", SecretRef: v1alpha1.SecretReference{Namespace: "a", Name: "b"}, Severity: "fatal",
				Objects: []v1alpha1.NotificationObjects{{Names: []string{"["}}}}}
		}, "objects[0].names[0]: Invalid"},
		"approval by a word of its own": {func(s *spec) { s.Approval.Required = "sometimes" }, "spec.approval.required: Unsupported"},
		"approval that counts nothing":  {func(s *spec) { s.Approval = v1alpha1.ApprovalSpec{Required: "always", MaxDeletes: 3} }, "spec.approval.maxDeletes: Forbidden"},
		"promotion": {func(s *spec) {
			s.Promotion = &v1alpha1.PromotionSpec{From: v1alpha1.PromotionOrigin{Source: "staging"}, After: &metav1.Duration{Duration: time.Hour}}
		}, ""},
		"promotion by a report of the same name": {func(s *spec) {
			s.Promotion = &v1alpha1.PromotionSpec{From: v1alpha1.PromotionOrigin{Source: "main", Report: "headway/staging"}}
		}, ""},
		"promotion of itself": {func(s *spec) {
			s.Promotion = &v1alpha1.PromotionSpec{From: v1alpha1.PromotionOrigin{Source: "main"}}
		}, "cannot go ahead of itself"},
		"promotion from nowhere": {func(s *spec) { s.Promotion = &v1alpha1.PromotionSpec{} }, "spec.promotion.from.source: Required"},
		"promotion before the fact": {func(s *spec) {
			s.Promotion = &v1alpha1.PromotionSpec{From: v1alpha1.PromotionOrigin{Source: "staging"}, After: &metav1.Duration{Duration: -1}}
		}, "spec.promotion.after"},
		"hosted":           {func(s *spec) { s.URL = "hosted:shop.prod" }, ""},
		"hosted elsewhere": {func(s *spec) { s.URL = "hosted:../shop" }, "of a hosted repository"},
		"hosted nowhere":   {func(s *spec) { s.URL = "hosted:" }, "of a hosted repository"},
		"reports elsewhere": {func(s *spec) {
			s.Reports = v1alpha1.ReportsSpec{URL: "https://example.org/reports.git", SecretRef: key}
		}, ""},
		"reports kept here":            {func(s *spec) { s.Reports = v1alpha1.ReportsSpec{URL: "hosted:reports"} }, ""},
		"reports by ssh without a key": {func(s *spec) { s.Reports = v1alpha1.ReportsSpec{URL: "git@example.org:a/b.git"} }, "spec.reports.secretRef: Required"},
		"reports to nonsense":          {func(s *spec) { s.Reports = v1alpha1.ReportsSpec{URL: "http://example.org/a"} }, "spec.reports.url"},
		"reports with another key":     {func(s *spec) { s.Reports = v1alpha1.ReportsSpec{SecretRef: key} }, "spec.reports.secretRef: Forbidden"},
		"reports to what is read-only": {func(s *spec) { s.Reports = v1alpha1.ReportsSpec{URL: "/srv/x", ReadOnly: true} }, "spec.reports.readOnly: Forbidden"},
		"environments": {func(s *spec) {
			s.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/try-*"}, Quota: map[string]resource.Quantity{"pods": resource.MustParse("5"), "limits.memory": resource.MustParse("4Gi")}}
		}, ""},
		"environments of everything": {func(s *spec) { s.Previews.Environments = &v1alpha1.EnvironmentsSpec{} }, "spec.previews.environments.refs: Required"},
		"environments of short names": {func(s *spec) {
			s.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"try-*"}}
		}, "begins with refs/"},
		"environments with a long prefix": {func(s *spec) {
			s.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/*"}, Prefix: strings.Repeat("x", 31)}
		}, "spec.previews.environments.prefix"},
		"environments for a second": {func(s *spec) {
			s.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/*"}, TTL: &metav1.Duration{Duration: time.Second}}
		}, "must be at least 1m0s"},
		"environments with a negative quota": {func(s *spec) {
			s.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/*"}, Quota: map[string]resource.Quantity{"pods": resource.MustParse("-1")}}
		}, "must not be negative"},
		"environments without security": {func(s *spec) {
			s.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/*"}, PodSecurity: "none"}
		}, "spec.previews.environments.podSecurity: Unsupported"},
		"an environment without an account": {func(s *spec) { s.Environment = &v1alpha1.EnvironmentSource{Source: "other"} }, "spec.serviceAccountName: Required"},
		"an environment with keys": {func(s *spec) {
			s.Environment, s.ServiceAccountName, s.Decryption = &v1alpha1.EnvironmentSource{Source: "other"}, "x", &v1alpha1.DecryptionSpec{}
		}, "spec.environment: Forbidden"},
		"an environment of itself": {func(s *spec) {
			s.Environment, s.ServiceAccountName = &v1alpha1.EnvironmentSource{Source: "main"}, "x"
		}, "must be the name of another GitSource"},
		"forge":                             {func(s *spec) { s.URL, s.Forge = "https://github.com/a/b.git", forge(nil) }, ""},
		"forge of a name that says nothing": {func(s *spec) { s.URL, s.Forge = "https://example.org/a/b", forge(nil) }, "spec.forge.type: Required"},
		"forge of a path":                   {func(s *spec) { s.Forge = forge(nil) }, "spec.forge.url: Required"},
		"forge over http":                   {func(s *spec) { s.Forge = forge(func(f *v1alpha1.ForgeSpec) { f.URL = "http://x:secret@github.com" }) }, "spec.forge.url: Invalid value: \"(URL)\""},
		"forge's repository": {func(s *spec) {
			s.URL, s.Forge = "https://github.com/a/b", forge(func(f *v1alpha1.ForgeSpec) { f.Repository = "../b" })
		}, "spec.forge.repository"},
		"forge's type": {func(s *spec) {
			s.URL, s.Forge = "https://github.com/a/b", forge(func(f *v1alpha1.ForgeSpec) { f.Type = "svn" })
		}, "spec.forge.type"},
		"forge for nothing": {func(s *spec) {
			s.URL, s.Forge = "https://github.com/a/b", forge(func(f *v1alpha1.ForgeSpec) { f.Statuses = false })
		}, "statuses, comments or both"},
		"comments of nothing": {func(s *spec) {
			s.URL, s.Forge = "https://github.com/a/b", forge(func(f *v1alpha1.ForgeSpec) { f.Comments = true })
		}, "spec.previews.refs: Required"},
		"two refs":           {func(s *spec) { s.Ref.Branch, s.Ref.Tag = "main", "v1" }, "only one"},
		"branch with option": {func(s *spec) { s.Ref.Branch = "a..b" }, "spec.ref.branch"},
		"short commit":       {func(s *spec) { s.Ref.Commit = "abc123" }, "40 hexadecimal"},
		"slash branch":       {func(s *spec) { s.Ref.Branch = "env/prod/eu" }, ""},
		"path outside":       {func(s *spec) { s.Paths = []string{"apps", "../x"} }, "spec.paths[1]"},
		"absolute path":      {func(s *spec) { s.Paths = []string{"/apps"} }, "relative"},
		"interval too short": {func(s *spec) { s.Interval = &metav1.Duration{Duration: time.Second} }, "at least 5s"},
		"render":             {func(s *spec) { s.Render = "jsonnet" }, `supported values: "auto"`},
		"drift":              {func(s *spec) { s.Drift.Policy = "ignore" }, "spec.drift.policy"},
		"percent":            {func(s *spec) { s.Guards.MaxDeletePercent = ptr.To[int32](101) }, "between 0 and 100"},
		"ca":                 {func(s *spec) { s.CABundle = []byte("x") }, "PEM"},
		"report onto itself": {func(s *spec) { s.Ref.Branch, s.Reports.Branch = "main", "main" }, "another branch"},
		"ssh":                {func(s *spec) { s.URL, s.SecretRef = "ssh://git@example.org:2222/a.git", key }, ""},
		"scp-like":           {func(s *spec) { s.URL, s.SecretRef = "git@example.org:team/a.git", key }, ""},
		"account":            {func(s *spec) { s.ServiceAccountName = "deployer" }, ""},
		"account's name":     {func(s *spec) { s.ServiceAccountName = "shop/deployer" }, "spec.serviceAccountName"},
		"no account":         {func(s *spec) { s.ServiceAccountNamespace = "shop" }, "a namespace alone names no account"},
		"tenant":             {func(s *spec) { s.Tenants = tenants(nil) }, ""},
		"tenant's name":      {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Name = "" }) }, "spec.tenants[0].name: Required"},
		"tenant twice":       {func(s *spec) { s.Tenants = append(tenants(nil), tenants(nil)...) }, "spec.tenants[1].name: Duplicate"},
		"tenant's paths":     {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Paths = nil }) }, "spec.tenants[0].paths: Required"},
		"tenant outside":     {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Paths[0] = "../b" }) }, "spec.tenants[0].paths[0]"},
		"tenant's pattern":   {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Paths[0] = "a[" }) }, "is no pattern"},
		"many wildcards":     {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Paths[0] = "**/**/**/**/**" }) }, "four **"},
		"no namespace":       {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Namespaces = nil }) }, "spec.tenants[0].namespaces: Required"},
		"bad namespace":      {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Namespaces[0] = "A" }) }, "spec.tenants[0].namespaces[0]"},
		"account nowhere":    {func(s *spec) { s.Tenants = tenants(func(t *v1alpha1.Tenant) { t.Namespaces = []string{"a-*"} }) }, "say where the account is"},
		"window":             {func(s *spec) { s.Windows = []v1alpha1.Window{{Kind: v1alpha1.WindowDeny, Paths: []string{"apps/**"}}} }, ""},
		"window's kind":      {func(s *spec) { s.Windows = []v1alpha1.Window{{Kind: "maybe"}} }, `spec.windows[0].kind: Unsupported value: "maybe"`},
		"window's paths":     {func(s *spec) { s.Windows = []v1alpha1.Window{{Kind: v1alpha1.WindowDeny, Paths: []string{"/x"}}} }, "spec.windows[0].paths[0]"},
		"dependencies": {func(s *spec) {
			s.DependsOn = []v1alpha1.Dependency{{Source: "base"}, {APIVersion: "v1", Kind: "Node", Name: "n1"}}
		}, ""},
		"notification": {func(s *spec) { s.Notifications = []v1alpha1.Notification{{Name: "chat", SecretRef: *key}} }, ""},
		"told nothing": {func(s *spec) {
			s.Notifications = []v1alpha1.Notification{{Name: "chat", SecretRef: *key, Events: []v1alpha1.NotificationEvent{"Rain"}}}
		}, "spec.notifications[0].events[0]"},
		"no secret":          {func(s *spec) { s.Notifications = []v1alpha1.Notification{{Name: "chat"}} }, "spec.notifications[0].secretRef"},
		"own dependency":     {func(s *spec) { s.DependsOn = []v1alpha1.Dependency{{Source: "main"}} }, "cannot wait for itself"},
		"two dependencies":   {func(s *spec) { s.DependsOn = []v1alpha1.Dependency{{Source: "base", Kind: "Node"}} }, "an object is another entry"},
		"no dependency":      {func(s *spec) { s.DependsOn = []v1alpha1.Dependency{{Kind: "Node"}} }, "spec.dependsOn[0]: Required"},
		"ssh without key":    {func(s *spec) { s.URL = "git@example.org:team/a.git" }, "known_hosts"},
		"ssh password":       {func(s *spec) { s.URL, s.SecretRef = "ssh://git:secret@example.org/a", key }, "must not carry a password"},
		"ssh option as host": {func(s *spec) { s.URL, s.SecretRef = "ssh://-oProxyCommand=id/a", key }, "spec.url"},
		"range":              {func(s *spec) { s.Ref.Semver = ">=1.4.0 <2.0.0" }, ""},
		"no range":           {func(s *spec) { s.Ref.Semver = "newest" }, "range of versions"},
		"range and tag":      {func(s *spec) { s.Ref.Semver, s.Ref.Tag = "1.x", "v1" }, "only one"},
		"signers":            {func(s *spec) { s.Verification = verification() }, ""},
		"no signers":         {func(s *spec) { s.Verification = &v1alpha1.VerificationSpec{} }, "at least one set"},
		"signers twice":      {func(s *spec) { s.Verification = verification(); s.Verification.Signers[0].SecretRef = key }, "only one of secretRef"},
		"signers nowhere":    {func(s *spec) { s.Verification = verification(); s.Verification.Signers[0].ConfigMapRef = nil }, "signers[0]: Required"},
		"signers outside":    {func(s *spec) { s.Verification = verification(); s.Verification.Signers[0].Path = "../x" }, "signers[0].path"},
		"tag of a branch":    {func(s *spec) { s.Verification = verification(); s.Verification.Mode = "tag" }, "a branch has no tag"},
		"tag of a range":     {func(s *spec) { s.Verification = verification(); s.Verification.Mode, s.Ref.Semver = "tag", "1.x" }, ""},
		"webhook":            {func(s *spec) { s.Webhook = &v1alpha1.WebhookSpec{Type: "gitea", SecretRef: *key} }, ""},
		"webhook of nobody":  {func(s *spec) { s.Webhook = &v1alpha1.WebhookSpec{SecretRef: *key} }, "spec.webhook.type"},
		"webhook in clear":   {func(s *spec) { s.Webhook = &v1alpha1.WebhookSpec{Type: "gitea"} }, "spec.webhook.secretRef.name"},
		"namespace":          {func(s *spec) { s.TargetNamespace = "A_b" }, "spec.targetNamespace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs := v1alpha1.ValidateGitSource(source(c.change), nil)
			if c.want == "" {
				if len(errs) > 0 {
					t.Fatalf("valid, but: %v", errs)
				}
				return
			}
			if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), c.want) {
				t.Fatalf("got %v, want something with %q", errs, c.want)
			}
			if strings.Contains(errs.ToAggregate().Error(), "secret@") || strings.Contains(errs.ToAggregate().Error(), "git:secret") {
				t.Fatal("the message shows a password")
			}
		})
	}
}

func TestReleaseIsImmutable(t *testing.T) {
	t.Parallel()
	old := &v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Source: "main", Commit: strings.Repeat("a", 40)}}
	o := old.DeepCopy()
	if errs := v1alpha1.ValidateRelease(o, old); len(errs) > 0 {
		t.Fatal(errs)
	}
	o.Spec.Commit = strings.Repeat("b", 40)
	if errs := v1alpha1.ValidateRelease(o, old); len(errs) != 1 {
		t.Fatalf("changed commit: %v", errs)
	}
}

func TestOriginRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file string
		line int32
	}{{"apps/web.yaml", 12}, {"apps/web.yaml", 0}, {"a:b.yaml", 3}, {"", 0}} {
		file, line := v1alpha1.ParseOrigin(v1alpha1.Origin(c.file, c.line))
		if file != c.file || line != c.line {
			t.Errorf("%v became %s %d", c, file, line)
		}
	}
}

func TestAddToScheme(t *testing.T) {
	t.Parallel()
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"GitSource", "GitSourceList", "Release", "ReleaseList", "Plan", "PlanList"} {
		if !s.Recognizes(v1alpha1.SchemeGroupVersion.WithKind(kind)) {
			t.Errorf("%s is unknown", kind)
		}
	}
}

// keyed are two tenants, a and b, with their keys in Secrets.
func keyed(of ...string) []v1alpha1.Tenant {
	var out []v1alpha1.Tenant
	for i, name := range []string{"a", "b"} {
		namespace, secret, _ := strings.Cut(of[i], "/")
		out = append(out, v1alpha1.Tenant{Name: name, Paths: []string{name}, Namespaces: []string{name},
			Decryption: &v1alpha1.DecryptionSpec{SecretRef: &v1alpha1.SecretReference{Namespace: namespace, Name: secret}}})
	}
	return out
}
