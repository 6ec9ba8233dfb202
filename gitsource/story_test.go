package gitsource_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// TestStories runs the scripts in testdata/stories, each with an emulated API
// and a repository of its own; the files of a script that lie below work/ are
// the first commit. UPDATE=1 records what "cmp stdout" compares with. Besides
// testscript's own, the commands are those of the table below.
func TestStories(t *testing.T) {
	commands := map[string]func(*story, *testscript.TestScript, []string) error{
		"source":         (*story).makeSource, // NAME [SPEC-JSON]
		"spec":           (*story).patchSpec,  // NAME PATCH-JSON
		"run":            (*story).start,
		"restart":        (*story).restart,
		"halt":           (*story).halt,
		"git":            (*story).runGit,        // ARGS... in work/
		"push":           (*story).commit,        // [MESSAGE]; \n is a new line
		"await":          (*story).awaitThe,      // PHASE [SOURCE], of work's HEAD
		"hooks":          (*story).hooks,         // prints those of the Release of work's HEAD
		"runs":           (*story).wantRuns,      // STAGE PHASE, of every hook of the stage
		"replaced":       (*story).replaced,      // prints what work's HEAD has replaced
		"planned":        (*story).planned,       // BRANCH: prints its plan
		"keeps":          (*story).keeps,         // RESOURCE NAME [again]: it was never deleted
		"owned":          (*story).owned,         // RESOURCE NAME SOURCE|nobody, by inventories and fields
		"told":           (*story).told,          // SOURCE TEXT, in its problems
		"quiet":          (*story).quiet,         // SOURCE, which has no problems
		"begun":          (*story).begun,         // STAGE: none of its hooks is pending
		"begun-at":       (*story).begunAt,       // REV STAGE, the same of another commit
		"message":        (*story).wantMessage,   // TEXT [SOURCE], within that of the Release of work's HEAD
		"condition":      (*story).wantState,     // TYPE STATUS REASON [SOURCE]
		"as":             (*story).act,           // USER delete|patch|create RESOURCE NAME [JSON]
		"status":         (*story).setStatus,     // RESOURCE NAME JSON, as a controller writes it
		"unquarantine":   (*story).deleteRelease, // of work's HEAD
		"approve":        (*story).approve,       // USER awaited|REF [REASON]: consents to the plan of the commit that waits, or of a reference
		"override":       (*story).override,      // USER: has work's HEAD applied in spite of windows
		"overridden":     (*story).overridden,    // USER TEXT, says the release of work's HEAD
		"plan":           (*story).plan,          // BRANCH, or HEAD for the commit of work: prints what a Plan says of it
		"may":            (*story).may,           // ACCOUNT NAMESPACE...: the only ones that it may write in
		"phase":          (*story).wantPhase,     // PHASE REV [SOURCE]
		"unplanned":      (*story).wantNoPlan,    // REF
		"unseen":         (*story).unseen,        // REV: the source main has no Release of it
		"create":         (*story).create,        // FILE of JSON
		"image":          (*story).wantImage,     // RESOURCE NAME IMAGE of the first container
		"pushed":         (*story).wantPushed,    // PREFIX; calls it FETCHED
		"moved":          (*story).wantMoved,
		"pin":            (*story).pin,          // SOURCE REV REASON [as-new]
		"observed":       (*story).wantObserved, // REV, as the newest commit that was seen
		"field":          (*story).wantField,    // RESOURCE NAME PATH VALUE, waited for
		"tick":           (*story).tick,         // DURATION
		"objects":        (*story).objects,      // prints the inventory's objects
		"problems":       (*story).printProblems,
		"report":         (*story).report,          // FILE PATTERN: prints it once it has the pattern
		"report-in":      (*story).reportIn,        // REPOSITORY FILE PATTERN
		"report-without": (*story).reportWithout,   // FILE WORDS: waits until it does not have them
		"credit":         (*story).credit,          // WHO has pushed work's HEAD, as a webhook says
		"commitpage":     (*story).commitPage,      // PATTERN: prints the page of work's HEAD once it has the pattern
		"forge":          (*story).startForge,      // KIND [SOURCE]: starts one and tells the source
		"forgefails":     (*story).failForge,       // down, spent, closed, missing or refuses: at the next call
		"wanted":         (*story).wantStatus,      // TEXT [AFTER] in the newest status of work's HEAD
		"comment":        (*story).wantComment,     // NUMBER TEXT
		"environment":    (*story).wantEnvironment, // REF PHASE|none: waits, prints it and calls its namespace $NS
		"leftout":        (*story).leftOut,         // SOURCE: prints what an environment leaves out
		"calls":          (*story).wantCalls,       // CODE: the metrics count calls with that answer
		"uncalled":       (*story).quietForge,      // no call is made while the clock goes on
		"settled":        (*story).settled,         // no transaction is made while the clock goes on
		"serve":          (*story).serve,           // the repository, at $HTTPS and $SSH, with the Secret default/git
		"break":          (*story).breakServer,     // FAULT, or mend
		"poll":           (*story).poll,            // until the server was asked once more
		"event":          (*story).wantEvent,       // REASON [SOURCE]
		"asked":          (*story).asked,           // within seconds, not at the interval
		"signer":         (*story).makeSigner,      // NAME: makes a key
		"sign":           (*story).signAs,          // NAME, or nobody: who signs from now on
		"time-goes-on":   (*story).goOn,            // while something is waited for
		"allow":          (*story).allow,           // CONFIGMAP LINE...: PRINCIPAL OPTIONS... NAME
	}
	cmds := map[string]func(*testscript.TestScript, bool, []string){}
	for name, f := range commands {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			err := f(ts.Value(key{}).(*story), ts, args)
			switch {
			case err != nil && !neg:
				ts.Fatalf("%s: %v", name, err)
			case err == nil && neg:
				ts.Fatalf("%s succeeded", name)
			}
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stories", UpdateScripts: os.Getenv("UPDATE") != "", Cmds: cmds,
		Setup: func(env *testscript.Env) error {
			files := env.WorkDir + "/work"
			if err := os.Rename(files, env.WorkDir+"/first"); err != nil && !os.IsNotExist(err) {
				return err
			}
			c := newCluster(t, env.WorkDir)
			if err := os.CopyFS(files, os.DirFS(env.WorkDir+"/first")); err != nil && !os.IsNotExist(err) {
				return err
			}
			env.Values[key{}] = &story{cluster: c, uids: map[txn.Ref]types.UID{}}
			env.Defer(c.stop)
			return nil
		},
	})
}

type key struct{}

type story struct {
	*cluster
	uids map[txn.Ref]types.UID
	// goesOn says that the clock goes on while something is waited for.
	goesOn bool
}

func (s *story) await(ok func() string) string {
	if !s.goesOn {
		return s.cluster.await(ok)
	}
	return s.cluster.await(func() string {
		s.clock.Step(time.Second)
		return ok()
	})
}

func (s *story) goOn(*testscript.TestScript, []string) error {
	s.goesOn = true
	return nil
}

func (s *story) makeSource(_ *testscript.TestScript, args []string) error {
	var err error
	s.follow(args[0], func(o *v1alpha1.GitSource) {
		if len(args) > 1 {
			err = json.Unmarshal([]byte(args[1]), &o.Spec)
		}
	})
	return err
}

func (s *story) patchSpec(_ *testscript.TestScript, args []string) error {
	_, err := s.store.Do(s.t.Context(), admin, txn.Change{
		Verb: txn.Patch, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: args[0]}, Patch: []byte(args[1]), PatchType: types.MergePatchType,
	})
	return err
}

func (s *story) start(*testscript.TestScript, []string) error {
	s.run()
	return nil
}

func (s *story) halt(*testscript.TestScript, []string) error {
	s.stop()
	return nil
}

func (s *story) restart(*testscript.TestScript, []string) error {
	s.stop()
	s.run()
	return nil
}

func (s *story) runGit(ts *testscript.TestScript, args []string) error {
	out, err := s.tryGit(s.work(), args...)
	fmt.Fprintln(ts.Stdout(), out)
	return err
}

func (s *story) commit(_ *testscript.TestScript, args []string) error {
	message := "change"
	if len(args) > 0 {
		message = strings.ReplaceAll(args[0], `\n`, "\n")
	}
	s.push(message)
	return nil
}

func sourceArg(args []string, at int) string {
	if len(args) > at {
		return args[at]
	}
	return "main"
}

func failure(text string) error {
	if text == "" {
		return nil
	}
	return fmt.Errorf("%s", text)
}

func (s *story) awaitThe(_ *testscript.TestScript, args []string) error {
	head := s.head()
	return failure(s.await(func() string { return s.phaseIs(sourceArg(args, 1), head, v1alpha1.ReleasePhase(args[0])) }))
}

func (s *story) wantMessage(_ *testscript.TestScript, args []string) error {
	head := s.head()
	return failure(s.await(func() string {
		r := s.release(sourceArg(args, 1), head)
		if r == nil || !strings.Contains(r.Status.Message, args[0]) {
			return fmt.Sprintf("the release is %+v", r)
		}
		return ""
	}))
}

func (s *story) wantState(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		o := s.source(sourceArg(args, 3))
		c := meta.FindStatusCondition(o.Status.Conditions, args[0])
		if c == nil || string(c.Status) != args[1] || c.Reason != args[2] {
			return fmt.Sprintf("conditions are %+v", o.Status.Conditions)
		}
		return ""
	}))
}

// ref reads "configmaps default/one" or "namespaces shop".
func ref(resource, name string) txn.Ref {
	r := txn.Ref{Resource: schema.ParseGroupResource(resource), Name: name}
	if ns, n, ok := strings.Cut(name, "/"); ok {
		r.Namespace, r.Name = ns, n
	}
	return r
}

// act prints what the writer is told.
func (s *story) act(ts *testscript.TestScript, args []string) error {
	change := txn.Change{Verb: txn.Verb(args[1]), Ref: ref(args[2], args[3]), FieldManager: "kubectl-edit"}
	if change.Verb == txn.Patch {
		change.Patch, change.PatchType = []byte(args[4]), types.StrategicMergePatchType
	}
	who := txn.Identity{Name: args[0], Groups: []string{"system:authenticated"}, Address: "10.1.2.3", UserAgent: "kubectl/v1.37.0", Impersonator: "admin"}
	result, _, err := txn.Run(s.t.Context(), s.store, who, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) { return []txn.Change{change}, nil })
	if result != nil {
		for _, o := range result.Outcomes {
			for _, w := range o.Warnings {
				fmt.Fprintln(ts.Stdout(), "Warning:", w)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(ts.Stdout(), "Error:", err)
	} else {
		fmt.Fprintln(ts.Stdout(), "written")
	}
	return err
}

func (s *story) wantNoPlan(_ *testscript.TestScript, args []string) error {
	look := func() string {
		v, err := s.store.View(s.t.Context())
		if err != nil {
			return err.Error()
		}
		for o := range v.Each(v1alpha1.Resource("plans"), "") {
			if o.(*v1alpha1.Plan).Spec.Ref.Name == args[0] {
				return "there is still a Plan of " + args[0]
			}
		}
		return ""
	}
	return failure(s.await(look))
}

func (s *story) create(ts *testscript.TestScript, args []string) error {
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON([]byte(ts.ReadFile(args[0]))); err != nil {
		return err
	}
	mapping, err := s.store.Mapper().RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if err != nil {
		return err
	}
	_, err = s.store.Do(s.t.Context(), admin, txn.Change{
		Verb: txn.Create, Ref: txn.Ref{Resource: mapping.Resource.GroupResource(), Namespace: o.GetNamespace(), Name: o.GetName()}, Object: o,
	})
	return err
}

func (s *story) wantImage(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		d, ok := s.get(ref(args[0], args[1])).(*appsv1.Deployment)
		if !ok {
			return "there is no such Deployment"
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got != args[2] {
			return "the image is " + got
		}
		return ""
	}))
}

func (s *story) setStatus(_ *testscript.TestScript, args []string) error {
	if last := s.await(func() string {
		if s.get(ref(args[0], args[1])) == nil {
			return "there is no such object"
		}
		return ""
	}); last != "" {
		return failure(last)
	}
	_, err := s.store.Do(s.t.Context(), txn.Identity{Name: "system:serviceaccount:kube-system:deployment-controller"}, txn.Change{
		Verb: txn.Patch, Ref: ref(args[0], args[1]), Subresource: "status", FieldManager: "controller",
		Patch: []byte(`{"status":` + args[2] + `}`), PatchType: types.MergePatchType,
	})
	return err
}

func (s *story) deleteRelease(*testscript.TestScript, []string) error {
	_, err := s.store.Do(s.t.Context(), admin, txn.Change{
		Verb: txn.Delete, Ref: txn.Ref{Resource: v1alpha1.Resource("releases"), Name: v1alpha1.ReleaseName("main", s.head())},
	})
	return err
}

func (s *story) pin(_ *testscript.TestScript, args []string) error {
	id, err := s.tryGit(s.work(), "rev-parse", args[1])
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"pin": v1alpha1.Pin{Commit: id, Reason: args[2], By: "jane", AsNew: len(args) > 3}}})
	if err != nil {
		return err
	}
	return s.patchSpec(nil, []string{args[0], string(patch)})
}

// wantPushed waits for a branch below a prefix, while the clock goes on, and
// calls it FETCHED in work/.
func (s *story) wantPushed(_ *testscript.TestScript, args []string) error {
	var id string
	if last := s.await(func() string {
		s.clock.Step(time.Second)
		out, err := s.tryGit(s.bare(), "for-each-ref", "--format=%(objectname)", args[0])
		if err != nil || out == "" {
			return "no reference below " + args[0] + " " + out
		}
		id = out
		return ""
	}); last != "" {
		return failure(last)
	}
	if _, err := s.tryGit(s.work(), "fetch", "-q", "origin", id); err != nil {
		return err
	}
	_, err := s.tryGit(s.work(), "tag", "-f", "FETCHED", id)
	return err
}

// wantMoved waits until the branch in the repository is no longer work's HEAD.
func (s *story) wantMoved(*testscript.TestScript, []string) error {
	head := s.head()
	return failure(s.await(func() string {
		if out, err := s.tryGit(s.bare(), "rev-parse", "main"); err != nil || out == head {
			return "main is at " + out
		}
		return ""
	}))
}

func (s *story) wantObserved(_ *testscript.TestScript, args []string) error {
	id, err := s.tryGit(s.work(), "rev-parse", args[0])
	if err != nil {
		return err
	}
	return failure(s.await(func() string {
		if got := s.source("main").Status.ObservedCommit; got != id {
			return "observed " + got
		}
		return ""
	}))
}

func (s *story) wantPhase(_ *testscript.TestScript, args []string) error {
	id, err := s.tryGit(s.work(), "rev-parse", args[1])
	if err != nil {
		return err
	}
	return failure(s.await(func() string { return s.phaseIs(sourceArg(args, 2), id, v1alpha1.ReleasePhase(args[0])) }))
}

func (s *story) wantField(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		o := s.get(ref(args[0], args[1]))
		if o == nil {
			if args[2] == "absent" {
				return ""
			}
			return "there is no such object"
		}
		encoded, err := json.Marshal(o)
		if err != nil {
			return err.Error()
		}
		var at any
		if err := json.Unmarshal(encoded, &at); err != nil {
			return err.Error()
		}
		for part := range strings.SplitSeq(args[2], ".") {
			m, _ := at.(map[string]any)
			at = m[part]
		}
		if got := fmt.Sprint(at); len(args) > 3 && got != args[3] {
			return fmt.Sprintf("%s is %s, want %s", args[2], got, args[3])
		}
		return ""
	}))
}

func (s *story) tick(_ *testscript.TestScript, args []string) error {
	d, err := time.ParseDuration(args[0])
	s.clock.Step(d)
	return err
}

func (s *story) objects(ts *testscript.TestScript, _ []string) error {
	none := true
	for _, line := range s.store.Dump() {
		if name, _, _ := strings.Cut(line, " @"); !strings.Contains(name, v1alpha1.GroupName) {
			fmt.Fprintln(ts.Stdout(), name)
			none = false
		}
	}
	if none {
		fmt.Fprintln(ts.Stdout(), "none")
	}
	return nil
}

func (s *story) printProblems(ts *testscript.TestScript, args []string) error {
	problems := s.source(sourceArg(args, 0)).Status.Problems
	for _, p := range problems {
		fmt.Fprintln(ts.Stdout(), p)
	}
	if len(problems) == 0 {
		fmt.Fprintln(ts.Stdout(), "none")
	}
	return nil
}

func (s *story) report(ts *testscript.TestScript, args []string) error {
	var out string
	err := failure(s.await(func() string {
		var err error
		out, err = s.tryGit(s.bare(), "show", "headway/test:"+args[0])
		if err != nil || !strings.Contains(out, args[1]) {
			return out
		}
		return ""
	}))
	// Digests cover UIDs, which are new in every run.
	fmt.Fprintln(ts.Stdout(), digest.ReplaceAllString(out, "Digest `...`"))
	return err
}

func (s *story) reportWithout(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		out, err := s.tryGit(s.bare(), "show", "headway/test:"+args[0])
		if err != nil || strings.Contains(out, args[1]) {
			return out
		}
		return ""
	}))
}

func (s *story) commitPage(ts *testscript.TestScript, args []string) error {
	return s.report(ts, []string{"commits/" + s.head() + ".md", args[0]})
}

var digest = regexp.MustCompile("Digest `[0-9a-f]{32}`")

// settled lets the clock go on and fails when somebody works although nothing
// has happened.
func (s *story) settled(*testscript.TestScript, []string) error {
	commits := s.store.Commits()
	for range 5 {
		s.clock.Step(time.Minute)
	}
	if n := s.store.Commits(); n != commits {
		return fmt.Errorf("%d transactions out of nothing", n-commits)
	}
	return nil
}
