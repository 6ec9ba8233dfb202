package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/blame"
	"github.com/headway-sh/headway/gitsource/edit"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/printer"
)

// adoptOptions are the flags of adopt.
type adoptOptions struct {
	gitObjectFlags
	fields                            []string
	branch, message, remote, new, src string
	push                              bool
}

// adoptCommand turns a change in the cluster into a commit.
func adoptCommand() *cobra.Command {
	var o adoptOptions
	var output printer.Flag
	cmd := &cobra.Command{
		Use:   "adopt KIND/NAME",
		Short: "Turn what was changed in the cluster into a commit on a branch",
		Long: `Turn what was changed in the cluster into a commit on a branch: the fields that
git says and somebody has changed, and those that --field names, are written at
their places in the object's file. The rest of the file stays as it is. The
commit is made on top of the applied one; no working tree is touched.

With --new FILE, an object that git does not have is written into that file,
without what the cluster has added to it.

Run it in a clone of the source's repository, or name one with -C. Exit status:
0 there is a commit, 1 there is nothing to adopt, 4 it cannot be written: the
message says where to change it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			var a *adopted
			if o.new != "" {
				a, err = o.whole(cmd.Context(), c, args[0])
			} else {
				a, err = o.changed(cmd.Context(), c, args[0])
			}
			if err != nil {
				return err
			}
			defer func() { _ = a.repo.Close() }() // everything is written
			if err := a.write(cmd.Context(), &o); err != nil {
				return err
			}
			progressOf(cmd).Done("%s is at %.12s: %s", a.Branch, a.Commit, a.File)
			if o.push {
				if err := a.push(cmd.Context(), o.remote); err != nil {
					return err
				}
				progressOf(cmd).Done("pushed to %s", o.remote)
			}
			return printer.Print(cmd.OutOrStdout(), output.Format, a.result())
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.fields, "field", nil, "field to take over that git says nothing of, with all that is below it; may be given more than once")
	f.StringVar(&o.branch, "branch", "", "branch to make (default: headway-adopt/KIND-NAME)")
	f.StringVarP(&o.message, "message", "m", "", "message of the commit")
	f.StringVar(&o.new, "new", "", "file of the repository to write an object to that git does not have")
	f.StringVar(&o.src, "source", mainSourceName, "name of the GitSource that a new object goes to")
	f.BoolVar(&o.push, "push", false, "push the branch")
	f.StringVar(&o.remote, "remote", "origin", "remote to push to")
	f.VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// adopted is what `headway adopt` has done.
type adopted struct {
	Object string                 `json:"object"`
	Source string                 `json:"source"`
	Branch string                 `json:"branch"`
	Commit string                 `json:"commit"`
	Base   string                 `json:"base"`
	File   string                 `json:"file"`
	Fields []v1alpha1.FieldChange `json:"fields,omitempty"`

	repo    *repo.Repository
	dir     string
	base    repo.ID
	content []byte
	kind    string
	name    string
}

// changed takes over the fields of an object that git has.
func (o *adoptOptions) changed(ctx context.Context, c *cluster, name string) (_ *adopted, err error) {
	g, err := o.open(ctx, c, name)
	if err != nil {
		if errors.Is(err, errNotInGit) {
			err = fmt.Errorf("%w; to write it down, name a file with --new", err)
		}
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.repo.Close())
		}
	}()
	if err := g.adoptable(); err != nil {
		return nil, exitCode{exitRejected, err}
	}
	fields, err := blame.Fields(plan.Manager(g.source), g.desired.Body, g.live, true)
	if err != nil {
		return nil, err
	}
	changes, told, err := o.pick(fields)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return nil, exitCode{exitDiffers, fmt.Errorf("%s is as git says; name what git says nothing of with --field", g.named.ref)}
	}
	before, err := g.repo.FileAt(g.commit, g.desired.File)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(before, []byte("ENC[")) {
		return nil, exitCode{exitRejected, fmt.Errorf("%s is encrypted: change it there with sops", g.desired.Origin())}
	}
	after, err := edit.Apply(before, g.desired.Line, changes)
	if err != nil {
		return nil, exitCode{exitRejected, fmt.Errorf("%s: %w: change it there by hand", g.desired.Origin(), err)}
	}
	return &adopted{
		Object: g.named.ref.String(), Source: g.source, Base: g.commit.String(), File: g.desired.File, Fields: told,
		repo: g.repo, dir: g.dir, base: g.commit, content: after, kind: g.named.gvk.Kind, name: g.named.ref.Name,
	}, nil
}

// adoptable says why an object's file cannot be written for the cluster.
func (g *gitObject) adoptable() error {
	switch {
	case g.live == nil:
		return fmt.Errorf("%s is deleted in the cluster: to agree, delete it at %s", g.named.ref, g.desired.Origin())
	case len(g.desired.Chain) > 0:
		return fmt.Errorf("%s is made of %s by %s: change it there", g.named.ref, g.desired.Origin(), strings.Join(g.desired.Chain, " and "))
	case g.named.gvk.Group == "" && g.named.gvk.Kind == "Secret":
		return fmt.Errorf("%s is a Secret: its values are not copied from the cluster into git; change it at %s", g.named.ref, g.desired.Origin())
	}
	kustomization, err := g.kustomization()
	if err != nil {
		return err
	}
	if kustomization != "" {
		return fmt.Errorf("%s is made of %s by %s, which others may use too: change it there by hand, or in a patch", g.named.ref, g.desired.Origin(), kustomization)
	}
	if _, own := g.set.Place(g.desired, "kind"); !own {
		return fmt.Errorf("%s is not written as it is at %s: change what makes it", g.named.ref, g.desired.Origin())
	}
	return nil
}

// kustomization is the nearest one above the object's file, or nothing.
func (g *gitObject) kustomization() (string, error) {
	for dir := path.Dir(g.desired.File); ; dir = path.Dir(dir) {
		for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
			found, err := g.repo.FileAt(g.commit, path.Join(dir, name))
			if err != nil || found != nil {
				return path.Join(dir, name), err
			}
		}
		if dir == "." || dir == "/" {
			return "", nil
		}
	}
}

// pick chooses the fields that are taken over.
func (o *adoptOptions) pick(fields []blame.Field) (changes []edit.Change, told []v1alpha1.FieldChange, err error) {
	found := map[string]bool{}
	for _, f := range fields {
		asked := f.Drifted
		for _, want := range o.fields {
			if f.Path == want || strings.HasPrefix(f.Path, want+".") || strings.HasPrefix(f.Path, want+"[") {
				asked, found[want] = true, true
			}
		}
		if asked && !(f.Git != nil && fmt.Sprint(f.Git) == fmt.Sprint(f.Live)) {
			changes = append(changes, edit.Change{Path: f.Path, Value: f.Live})
			told = append(told, v1alpha1.FieldChange{Path: f.Path, Before: compact(f.Git), After: compact(f.Live)})
		}
	}
	for _, want := range o.fields {
		if !found[want] {
			return nil, nil, exitCode{exitError, fmt.Errorf("nobody has written a field %s; \"headway blame --all\" lists what there is", want)}
		}
	}
	return changes, told, nil
}

// whole takes over an object that git does not have.
func (o *adoptOptions) whole(ctx context.Context, c *cluster, name string) (_ *adopted, err error) {
	named, err := nameObject(c, o.namespace, name)
	if err != nil {
		return nil, err
	}
	live, err := named.live(ctx, c)
	if err != nil {
		return nil, err
	}
	all, err := inventoriesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nil, fmt.Errorf("there is no %s", named.ref)
	}
	if err := writable(named, live, ownerOf(all, named.ref)); err != nil {
		return nil, exitCode{exitRejected, err}
	}
	var source v1alpha1.GitSource
	if err := c.Get(ctx, client.ObjectKey{Name: o.src}, &source); err != nil {
		return nil, err
	}
	g := &gitObject{owned: owned{source: o.src}, named: named}
	if g.commit, err = repo.ParseID(source.Status.AppliedCommit); err != nil {
		return nil, fmt.Errorf("source %q has applied nothing yet", o.src)
	}
	if err := g.openRepository(o.dir, &source); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.repo.Close())
		}
	}()
	file := path.Clean(o.new)
	if old, err := g.repo.FileAt(g.commit, file); err != nil || old != nil || path.IsAbs(file) || strings.HasPrefix(file, "..") {
		return nil, errors.Join(exitCode{exitError, fmt.Errorf("--new %s: name a file inside the repository that is not there yet", o.new)}, err)
	}
	body, err := blame.Written(live, byPeople)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(body.Object)
	if err != nil {
		return nil, err
	}
	return &adopted{
		Object: named.ref.String(), Source: o.src, Base: g.commit.String(), File: file,
		repo: g.repo, dir: g.dir, base: g.commit, content: text, kind: named.gvk.Kind, name: named.ref.Name,
	}, nil
}

// writable says why an object is not written down as a new one.
func writable(named namedObject, live *unstructured.Unstructured, owner *owned) error {
	switch {
	case owner != nil:
		return fmt.Errorf("%s is in git already, at %s", named.ref, owner.entry.Origin)
	case len(live.GetOwnerReferences()) > 0:
		return fmt.Errorf("%s is made by %s %s: adopt that", named.ref, live.GetOwnerReferences()[0].Kind, live.GetOwnerReferences()[0].Name)
	case named.gvk.Group == "" && named.gvk.Kind == "Secret":
		return fmt.Errorf("%s is a Secret: it would be in git for all to read; write it with sops", named.ref)
	}
	return nil
}

// ownManagers are the beginnings of the field managers of the cluster's own
// components.
var ownManagers = []string{"kube-", "system:", "headway-", "headway:"}

// byPeople tells whether a field manager is none of the cluster's own.
func byPeople(manager string) bool {
	return !slices.ContainsFunc(ownManagers, func(own string) bool { return strings.HasPrefix(manager, own) })
}

// write makes the commit and the branch.
func (a *adopted) write(ctx context.Context, o *adoptOptions) error {
	a.Branch = o.branch
	if a.Branch == "" {
		a.Branch = "headway-adopt/" + strings.ToLower(a.kind) + "-" + a.name
	}
	if strings.HasPrefix("refs/heads/"+a.Branch, repo.ReportPrefix) {
		return exitCode{exitError, fmt.Errorf("--branch %s: names that begin with headway/ are the cluster's own", a.Branch)}
	}
	if err := exec.CommandContext(ctx, "git", "check-ref-format", "--branch", a.Branch).Run(); err != nil {
		return exitCode{exitError, fmt.Errorf("--branch %s: git takes no such name", a.Branch)}
	}
	message := o.message
	if message == "" {
		message = fmt.Sprintf("Adopt %s from the cluster\n\n%s", a.Object, a.fieldLines())
	}
	name, mail, err := committer(ctx, a.dir)
	if err != nil {
		return err
	}
	n := repo.NewCommit{Parent: a.base, Name: name, Email: mail, Time: time.Now(), Message: message}
	with := n
	with.Files = map[string][]byte{a.File: a.content}
	part, err := a.repo.Write(with)
	if err != nil {
		return err
	}
	id, err := a.repo.Restore(n, part, []string{a.File})
	if err != nil {
		return err
	}
	a.Commit = id.String()
	if err := a.repo.Update("refs/heads/"+a.Branch, repo.ID{}, id); err != nil {
		if errors.Is(err, repo.ErrRefMoved) {
			return exitCode{exitError, fmt.Errorf("there is a branch %s already: name another with --branch, or delete it", a.Branch)}
		}
		return err
	}
	return nil
}

// committer is who git in a directory says commits.
func committer(ctx context.Context, dir string) (name, mail string, err error) {
	name, err = gitOutput(ctx, "-C", dir, "config", "user.name")
	if err == nil {
		mail, err = gitOutput(ctx, "-C", dir, "config", "user.email")
	}
	if err != nil {
		return "", "", errors.New("git does not know who you are: set user.name and user.email with git config")
	}
	return name, mail, nil
}

// push brings the branch to a remote with git itself, and the person's keys.
func (a *adopted) push(ctx context.Context, remote string) error {
	cmd := exec.CommandContext(ctx, "git", "-C", a.dir, "push", "--quiet", "--", remote, "refs/heads/"+a.Branch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("push %s: %w: %s", a.Branch, err, bytes.TrimSpace(out))
	}
	return nil
}
