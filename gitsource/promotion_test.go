package gitsource_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/gitsource"
)

// TestPromotionBetweenClusters: production follows what another cluster reports
// into the same repository.
func TestPromotionBetweenClusters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.write("one.yaml", configMap("one", "first"))
	first := c.push("first")
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Promotion = &v1alpha1.PromotionSpec{
			From: v1alpha1.PromotionOrigin{Source: "apps", Report: "headway/staging"}, After: &metav1.Duration{Duration: time.Hour},
		}
	})
	c.run()
	c.eventually("nothing is reported", func() string {
		p := c.source("main").Status.Promotion
		if p == nil || p.Message != "there is no report at headway/staging yet" {
			return fmt.Sprintf("the status says %+v", p)
		}
		return ""
	})

	staging := txntest.New(c.clock)
	e, err := gitsource.New(gitsource.Config{
		Txn: staging, Mapper: staging.Mapper(), Identity: txn.Identity{Name: self}, DataDir: filepath.Join(c.dir, "staging"),
		ClusterName: "staging", ClusterUID: "beef", Clock: c.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	if _, err := staging.Do(t.Context(), admin, txn.Change{Verb: txn.Create, Ref: ref("gitsources.gitops.headway.sh", "apps"), Object: &v1alpha1.GitSource{
		ObjectMeta: metav1.ObjectMeta{Name: "apps"}, Spec: v1alpha1.GitSourceSpec{URL: c.bare()},
	}}); err != nil {
		t.Fatal(err)
	}
	c.eventually("staging is healthy", func() string {
		if p := c.source("main").Status.Promotion; p.Next != first || !p.NextTime.Time.Equal(start.Add(time.Hour)) {
			return p.Message
		}
		return ""
	})
	if c.get(ref("configmaps", "default/one")) != nil {
		t.Error("the commit was applied before its time")
	}
	c.clock.Step(time.Hour)
	c.phase("main", first, v1alpha1.ReleaseHealthy)
}
