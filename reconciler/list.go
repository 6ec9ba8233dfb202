package reconciler

import (
	"github.com/headway-sh/headway/reconciler/bootstrap"
	"github.com/headway-sh/headway/reconciler/clusterrole"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/cronjob"
	"github.com/headway-sh/headway/reconciler/csr"
	"github.com/headway-sh/headway/reconciler/daemonset"
	"github.com/headway-sh/headway/reconciler/deployment"
	"github.com/headway-sh/headway/reconciler/disruption"
	"github.com/headway-sh/headway/reconciler/endpoints"
	"github.com/headway-sh/headway/reconciler/endpointslice"
	"github.com/headway-sh/headway/reconciler/endpointslicemirroring"
	"github.com/headway-sh/headway/reconciler/ephemeralvolume"
	"github.com/headway-sh/headway/reconciler/garbagecollector"
	"github.com/headway-sh/headway/reconciler/horizontalpodautoscaler"
	"github.com/headway-sh/headway/reconciler/job"
	"github.com/headway-sh/headway/reconciler/localpath"
	"github.com/headway-sh/headway/reconciler/namespace"
	"github.com/headway-sh/headway/reconciler/networkpolicy"
	"github.com/headway-sh/headway/reconciler/nodecidr"
	"github.com/headway-sh/headway/reconciler/nodelife"
	"github.com/headway-sh/headway/reconciler/podgc"
	"github.com/headway-sh/headway/reconciler/replicaset"
	"github.com/headway-sh/headway/reconciler/resourcequota"
	"github.com/headway-sh/headway/reconciler/rootca"
	"github.com/headway-sh/headway/reconciler/serviceaccount"
	"github.com/headway-sh/headway/reconciler/servicecidr"
	"github.com/headway-sh/headway/reconciler/statefulset"
	"github.com/headway-sh/headway/reconciler/storageprotection"
	"github.com/headway-sh/headway/reconciler/tokencleaner"
	"github.com/headway-sh/headway/reconciler/ttlafterfinished"
	"github.com/headway-sh/headway/reconciler/volumebinder"
)

// entry is one controller of the list.
type entry struct {
	// name is what Config.Controllers calls it.
	name string
	// account is the service account in kube-system that it writes as.
	account string
	// new makes it; nil when the configuration gives it nothing to do.
	new func(deps controller.Deps, c Config) (controller.Runnable, error)
}

// plain fits controllers that need nothing but their Deps.
func plain(f func(controller.Deps) (controller.Runnable, error)) func(controller.Deps, Config) (controller.Runnable, error) {
	return func(deps controller.Deps, _ Config) (controller.Runnable, error) { return f(deps) }
}

// list is all controllers. They do not depend on their order.
var list = []entry{
	{"bootstrap", bootstrap.Name, plain(bootstrap.New)},
	{"serviceaccount", serviceaccount.Name, plain(serviceaccount.New)},
	{"rootca", rootca.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		if c.RootCA == "" {
			return nil, nil
		}
		return rootca.New(deps, c.RootCA)
	}},
	{"pvcprotection", storageprotection.ClaimsName, plain(storageprotection.NewClaims)},
	{"pvprotection", storageprotection.VolumesName, plain(storageprotection.NewVolumes)},
	{"persistentvolume-claims", volumebinder.Name, plain(volumebinder.NewClaims)},
	{"persistentvolume-volumes", volumebinder.Name, plain(volumebinder.NewVolumes)},
	{"localpath-claims", localpath.Name, plain(localpath.NewClaims)},
	{"localpath-volumes", localpath.Name, plain(localpath.NewVolumes)},
	{"localpath-class", bootstrap.Name, plain(localpath.NewClass)},
	{"expand", localpath.ExpandName, plain(localpath.NewExpand)},
	{"ephemeralvolume", ephemeralvolume.Name, plain(ephemeralvolume.New)},
	{"resourcequota", resourcequota.Name, plain(resourcequota.New)},
	{"deployment", deployment.Name, plain(deployment.New)},
	{"replicaset", replicaset.Name, plain(replicaset.New)},
	{"replicationcontroller", replicaset.ControllersName, plain(replicaset.Controllers.New)},
	{"job", job.Name, plain(job.New)},
	{"cronjob", cronjob.Name, plain(cronjob.New)},
	{"disruption", disruption.Name, plain(disruption.New)},
	{"horizontalpodautoscaler", horizontalpodautoscaler.Name, plain(horizontalpodautoscaler.New)},
	{"ttlafterfinished", ttlafterfinished.Name, plain(ttlafterfinished.New)},
	{"tokencleaner", tokencleaner.Name, plain(tokencleaner.New)},
	{"statefulset", statefulset.Name, plain(statefulset.New)},
	{"daemonset", daemonset.Name, plain(daemonset.New)},
	{"endpointslice", endpointslice.Name, plain(endpointslice.New)},
	{"endpointslicemirroring", endpointslicemirroring.Name, plain(endpointslicemirroring.New)},
	{"endpoints", endpoints.Name, plain(endpoints.New)},
	{"networkpolicy", networkpolicy.Name, plain(networkpolicy.New)},
	{"servicecidr", servicecidr.Name, plain(servicecidr.New)},
	{"nodelife", nodelife.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		return nodelife.New(deps, c.Liveness, c.Eviction)
	}},
	{"nodecidr", nodelife.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		if len(c.ClusterCIDRs) == 0 {
			return nil, nil
		}
		return nodecidr.New(deps, c.ClusterCIDRs)
	}},
	{"podgc", podgc.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		return podgc.New(deps, c.TerminatedPods)
	}},
	{"csr", csr.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		if c.Signer == nil {
			return nil, nil
		}
		return csr.New(deps, c.Signer, func(node string) bool {
			if c.Liveness == nil {
				return false
			}
			alive, known := c.Liveness.Alive(node)
			return known && alive
		})
	}},
	{"clusterrole", clusterrole.Name, plain(clusterrole.New)},
	{"garbagecollector", garbagecollector.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		if len(c.Kinds) == 0 {
			return nil, nil
		}
		return garbagecollector.New(deps, c.Kinds)
	}},
	{"namespace", namespace.Name, func(deps controller.Deps, c Config) (controller.Runnable, error) {
		return namespace.New(deps, c.NamespacedKinds)
	}},
}
