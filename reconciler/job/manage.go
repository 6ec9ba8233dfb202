package job

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/podstate"
	"github.com/headway-sh/headway/reconciler/replicaset"
)

// manage decides which pods are to go or to come.
func (p *pass) manage() {
	if p.end != nil {
		p.plan.Delete = p.active
		return
	}
	if p.perIndex() {
		p.kept = p.carriers()
	}
	if suspended(p.job) {
		p.plan.Kill = p.active
		return
	}
	want := p.wanted()
	if p.plan.Kill = p.surplus(max(len(p.active)-want, 0)); len(p.plan.Kill) > 0 {
		p.plan.Kill = p.plan.Kill[:min(len(p.plan.Kill), burst)]
		return
	}
	missing := want - len(p.active)
	if waits(p.job) {
		missing -= p.terminating
	}
	if missing > 0 {
		p.create(min(missing, burst))
	}
}

// wanted is how many pods are to be active.
func (p *pass) wanted() int {
	parallelism := int(ptr.Deref(p.job.Spec.Parallelism, 1))
	if p.job.Spec.Completions != nil {
		return max(min(p.completions-p.succeeded, parallelism), 0)
	}
	if p.succeeded > 0 {
		return len(p.active) // the work is done: who still runs may end it
	}
	return parallelism
}

// surplus picks n active pods at least: first those that cannot count (without
// an index, of an index that is done or that another pod works on, untracked),
// then those whose loss hurts least.
func (p *pass) surplus(n int) []*corev1.Pod {
	if n == 0 && len(p.useless(p.active)) == 0 {
		return nil
	}
	ranked := replicaset.Ranked(p.active, nil, p.now)
	useless := p.useless(ranked)
	picked := slices.Clone(useless)
	for _, pod := range ranked {
		if len(picked) >= n {
			break
		}
		if !slices.Contains(useless, pod) {
			picked = append(picked, pod)
		}
	}
	return picked
}

// useless are the pods that cannot count. The last one of an index keeps it.
func (p *pass) useless(pods []*corev1.Pod) []*corev1.Pod {
	held := map[int]bool{}
	var useless []*corev1.Pod
	for _, pod := range slices.Backward(pods) {
		index := indexOf(pod, p.completions)
		if !tracked(pod) || indexed(p.job) && (index == noIndex || held[index] || p.done.has(index)) {
			useless = append(useless, pod)
		} else {
			held[index] = true
		}
	}
	return useless
}

// create plans n pods, or says when they may come.
func (p *pass) create(n int) {
	if !p.perIndex() {
		if wait := remaining(p.job, p.pods, p.now); wait > 0 {
			p.again(wait)
			return
		}
	}
	if !indexed(p.job) {
		for range n {
			p.plan.Create = append(p.plan.Create, Slot{Index: noIndex})
		}
		return
	}
	for _, index := range p.pending(n) {
		old := p.kept[index]
		if wait := remainingOf(old, p.now); wait > 0 {
			p.again(wait)
			continue
		}
		p.plan.Create = append(p.plan.Create, Slot{Index: index, Replaces: old})
	}
}

// pending are the first n indexes that nobody works on and somebody must.
func (p *pass) pending(n int) []int {
	var busy []int
	for _, pod := range p.pods {
		if podstate.IsActive(pod) || waits(p.job) && terminating(pod) {
			if index := indexOf(pod, p.completions); index != noIndex {
				busy = append(busy, index)
			}
		}
	}
	return p.done.union(p.lost).with(busy...).missing(n, p.completions)
}

// carriers are, by index, the last failed pods that have no successor yet. They
// stay until they have one, because their annotations are the index's count.
func (p *pass) carriers() map[int]*corev1.Pod {
	active := map[int]bool{}
	for _, pod := range p.active {
		active[indexOf(pod, p.completions)] = true
	}
	last := map[int]*corev1.Pod{}
	for _, pod := range p.pods {
		index := indexOf(pod, p.completions)
		if index == noIndex || active[index] || p.done.has(index) || p.lost.has(index) || !tracked(pod) || !failed(p.job, pod) {
			continue
		}
		if old := last[index]; old == nil || cmp.Or(cmp.Compare(failuresOf(old), failuresOf(pod)), endedAt(old).Compare(endedAt(pod))) < 0 {
			last[index] = pod
		}
	}
	return last
}
