package v1alpha1

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NotificationType is the form of a notification.
// +enum
type NotificationType string

const (
	// NotifyWebhook posts a JSON document; see docs/notifications.md.
	NotifyWebhook NotificationType = "webhook"
	// NotifySlack posts a text as Slack and what is compatible with it take it.
	NotifySlack NotificationType = "slack"
)

// NotificationEvent is something that is told.
// +enum
type NotificationEvent string

// The events that are told.
const (
	NotifyHealthy    NotificationEvent = "Healthy"
	NotifyFailed     NotificationEvent = "Failed"
	NotifyRolledBack NotificationEvent = "RolledBack"
	NotifyRefused    NotificationEvent = "Refused"
	NotifyHeld       NotificationEvent = "Held"
	NotifyFrozen     NotificationEvent = "Frozen"
	NotifySuspended  NotificationEvent = "Suspended"
	NotifyWaiting    NotificationEvent = "Waiting"
	NotifyDrift      NotificationEvent = "Drift"
)

// NotificationEvents are all of them.
var NotificationEvents = []NotificationEvent{
	NotifyHealthy, NotifyFailed, NotifyRolledBack, NotifyRefused, NotifyHeld, NotifyFrozen, NotifySuspended, NotifyWaiting, NotifyDrift,
}

// Notification is who hears of what happens to a source.
type Notification struct {
	// Name of the notification.
	Name string `json:"name"`
	// Type is webhook (the default) or slack.
	// +optional
	Type NotificationType `json:"type,omitempty"`
	// SecretRef names a Secret with the key "url", and with "key" when what is
	// sent is to be signed (HMAC-SHA256 in the header X-Headway-Signature).
	SecretRef SecretReference `json:"secretRef"`
	// Events that are told: Healthy, Failed, RolledBack, Refused, Held, Frozen,
	// Suspended, Waiting (for a dependency or an approval) and Drift. Empty: all
	// of them.
	// +optional
	// +listType=atomic
	Events []NotificationEvent `json:"events,omitempty"`
}

// Tells says whether an event is told.
func (n *Notification) Tells(e NotificationEvent) bool {
	return len(n.Events) == 0 || slices.Contains(n.Events, e)
}

func validateNotifications(all []Notification, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, n := range all {
		at := at.Index(i)
		if seen[n.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), n.Name))
		}
		seen[n.Name] = true
		errs = append(errs, validateName(n.Name, false, at.Child("name"))...)
		errs = append(errs, oneOf(n.Type, at.Child("type"), "", NotifyWebhook, NotifySlack)...)
		errs = append(errs, validateObject(n.SecretRef.Namespace, n.SecretRef.Name, at.Child("secretRef"))...)
		for j, e := range n.Events {
			errs = append(errs, oneOf(e, at.Child("events").Index(j), NotificationEvents...)...)
		}
	}
	return errs
}
