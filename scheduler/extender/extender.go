// Package extender asks schedulers' extenders over HTTP, in the words of
// k8s.io/kube-scheduler/extender/v1.
package extender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

const (
	// usualTimeout is how long an extender may take that says nothing else.
	usualTimeout = 5 * time.Second
	// maxAnswer is how many bytes an extender may answer.
	maxAnswer = 64 << 20
	// maxSaid is how much of an extender's own words an error repeats.
	maxSaid = 256
	// scale takes an extender's scores, from 0 to 10, to the scheduler's.
	scale = 100 / extenderv1.MaxExtenderPriority
)

// Extender is one that a configuration names. It is safe for concurrent use.
type Extender struct {
	config    configv1.Extender
	resources map[corev1.ResourceName]bool
	http      *http.Client
}

// New makes an Extender, or says what is wrong with its configuration. One that
// has no CA in its configuration must be one that the system trusts, where
// Kubernetes' scheduler would believe anybody.
func New(c configv1.Extender) (*Extender, error) {
	at, err := url.Parse(c.URLPrefix)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("urlPrefix %q: an http or https URL is wanted", c.URLPrefix)
	}
	switch {
	case c.EnableHTTPS && at.Scheme != "https":
		return nil, fmt.Errorf("urlPrefix %q: enableHTTPS wants an https URL", c.URLPrefix)
	case c.FilterVerb+c.PrioritizeVerb+c.BindVerb+c.PreemptVerb == "":
		return nil, errors.New("one of filterVerb, prioritizeVerb, preemptVerb and bindVerb is needed")
	case c.PrioritizeVerb != "" && c.Weight < 1:
		return nil, errors.New("prioritizeVerb needs a weight of at least 1")
	}
	e := &Extender{config: c, resources: map[corev1.ResourceName]bool{}}
	for _, r := range c.ManagedResources {
		if e.resources[corev1.ResourceName(r.Name)] {
			return nil, fmt.Errorf("managedResources names %q twice", r.Name)
		}
		e.resources[corev1.ResourceName(r.Name)] = true
	}
	e.config.HTTPTimeout.Duration = c.HTTPTimeout.Duration
	if e.config.HTTPTimeout.Duration <= 0 {
		e.config.HTTPTimeout.Duration = usualTimeout
	}
	transport, err := transport(c)
	if err != nil {
		return nil, err
	}
	e.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return e, nil
}

func transport(c configv1.Extender) (http.RoundTripper, error) {
	config := &rest.Config{}
	if t := c.TLSConfig; t != nil {
		config.TLSClientConfig = rest.TLSClientConfig{
			Insecure: t.Insecure, ServerName: t.ServerName, CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile,
			CertData: t.CertData, KeyData: t.KeyData, CAData: t.CAData,
		}
	}
	rt, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("tlsConfig: %w", err)
	}
	return rt, nil
}

// Name is the extender's URL.
func (e *Extender) Name() string { return e.config.URLPrefix }

// Ignorable tells whether pods go on without it when it fails.
func (e *Extender) Ignorable() bool { return e.config.Ignorable }

// Ignored are the resources that only the extender looks after.
func (e *Extender) Ignored() (names []corev1.ResourceName) {
	for _, r := range e.config.ManagedResources {
		if r.IgnoredByScheduler {
			names = append(names, corev1.ResourceName(r.Name))
		}
	}
	return names
}

// Interested tells whether a pod asks for a resource that it manages; it manages
// all pods when it names no resource.
func (e *Extender) Interested(p *corev1.Pod) bool {
	if len(e.resources) == 0 {
		return true
	}
	asks := func(c corev1.Container) bool {
		for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
			for name := range list {
				if e.resources[name] {
					return true
				}
			}
		}
		return false
	}
	return slices.ContainsFunc(p.Spec.Containers, asks) || slices.ContainsFunc(p.Spec.InitContainers, asks)
}

// Filter asks which nodes will do.
func (e *Extender) Filter(ctx context.Context, p *corev1.Pod, nodes []*corev1.Node) (map[string]bool, map[string]string, error) {
	fit, refused := make(map[string]bool, len(nodes)), map[string]string{}
	if e.config.FilterVerb == "" {
		for _, n := range nodes {
			fit[n.Name] = true
		}
		return fit, refused, nil
	}
	var answer extenderv1.ExtenderFilterResult
	if err := e.ask(ctx, e.config.FilterVerb, e.about(p, nodes), &answer); err != nil {
		return nil, nil, err
	}
	if answer.Error != "" {
		return nil, nil, fmt.Errorf("%s: %s", e.config.FilterVerb, short(answer.Error))
	}
	switch {
	case e.config.NodeCacheCapable && answer.NodeNames != nil:
		for _, name := range *answer.NodeNames {
			fit[name] = true
		}
	case answer.Nodes != nil:
		for i := range answer.Nodes.Items {
			fit[answer.Nodes.Items[i].Name] = true
		}
	}
	for _, failed := range []extenderv1.FailedNodesMap{answer.FailedNodes, answer.FailedAndUnresolvableNodes} {
		for node, why := range failed {
			refused[node] = short(why)
		}
	}
	return fit, refused, nil
}

// Prioritize asks for scores.
func (e *Extender) Prioritize(ctx context.Context, p *corev1.Pod, nodes []*corev1.Node) (map[string]int64, error) {
	if e.config.PrioritizeVerb == "" {
		return nil, nil
	}
	var answer extenderv1.HostPriorityList
	if err := e.ask(ctx, e.config.PrioritizeVerb, e.about(p, nodes), &answer); err != nil {
		return nil, err
	}
	scores := make(map[string]int64, len(answer))
	for _, a := range answer {
		score := min(max(a.Score, extenderv1.MinExtenderPriority), extenderv1.MaxExtenderPriority)
		scores[a.Host] += score * scale * e.config.Weight
	}
	return scores, nil
}

// Binds tells whether the extender binds the pods that it is interested in.
func (e *Extender) Binds() bool { return e.config.BindVerb != "" }

// Bind has it bind a pod that it is interested in.
func (e *Extender) Bind(ctx context.Context, p *corev1.Pod, node string) (declined bool, err error) {
	if !e.Binds() || !e.Interested(p) {
		return true, nil
	}
	var answer extenderv1.ExtenderBindingResult
	args := extenderv1.ExtenderBindingArgs{PodName: p.Name, PodNamespace: p.Namespace, PodUID: p.UID, Node: node}
	if err := e.ask(ctx, e.config.BindVerb, args, &answer); err != nil {
		return false, err
	}
	if answer.Error != "" {
		return false, fmt.Errorf("%s: %s", e.config.BindVerb, short(answer.Error))
	}
	return false, nil
}

// about is the question about a pod and nodes: whole, or their names only for
// an extender that knows them.
func (e *Extender) about(p *corev1.Pod, nodes []*corev1.Node) *extenderv1.ExtenderArgs {
	args := &extenderv1.ExtenderArgs{Pod: p}
	if e.config.NodeCacheCapable {
		names := make([]string, len(nodes))
		for i, n := range nodes {
			names[i] = n.Name
		}
		args.NodeNames = &names
		return args
	}
	args.Nodes = &corev1.NodeList{Items: make([]corev1.Node, len(nodes))}
	for i, n := range nodes {
		args.Nodes.Items[i] = *n
	}
	return args
}

func (e *Extender) ask(ctx context.Context, verb string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, e.config.HTTPTimeout.Duration)
	defer cancel()
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(e.config.URLPrefix, "/")+"/"+verb, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := e.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", verb, err)
	case len(text) > maxAnswer:
		return fmt.Errorf("%s: the answer is larger than %d bytes", verb, maxAnswer)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", verb, response.Status, short(string(text)))
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s: the answer cannot be read: %w", verb, err)
	}
	return nil
}

// short is what an event can hold of an extender's words.
func short(said string) string {
	said = strings.ToValidUTF8(strings.TrimSpace(said), "?")
	if len(said) > maxSaid {
		said = strings.ToValidUTF8(said[:maxSaid], "") + "…"
	}
	return said
}
