{{- /* Labels of everything of one plane; call with (list . "regional"). */ -}}
{{- define "senren.labels" -}}
{{- $root := index . 0 -}}
{{ include "senren.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- define "senren.selector" -}}
app.kubernetes.io/name: senren
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{- /* Cluster-wide objects are named after the prefix too, so that two regional planes can share a cluster. */ -}}
{{- define "senren.regional.name" -}}
{{- $namespace := printf "%s-system" .Values.regional.namespacePrefix -}}
{{- if ne .Release.Namespace $namespace -}}
{{- fail (printf "install it with --namespace %s: where a plane's namespaces begin with %s- (regional.namespacePrefix), that one is its own" $namespace .Values.regional.namespacePrefix) -}}
{{- end -}}
{{ .Release.Name }}-regional
{{- end }}

{{- define "senren.control.name" -}}
{{ .Release.Name }}-control
{{- end }}

{{- /* Environment of both planes. */ -}}
{{- define "senren.env" -}}
- name: KAFKA_BOOTSTRAP_SERVERS
  value: {{ required "kafka.bootstrapServers: host:port,… of Kafka" .Values.kafka.bootstrapServers | quote }}
- name: KAFKA_TOPIC_PREFIX
  value: {{ .Values.kafka.topicPrefix | quote }}
- name: KAFKA_ROUTING
  value: {{ .Values.kafka.routing | quote }}
- name: METRICS_ADDR
  value: {{ printf "0.0.0.0:%v" .Values.metrics.port | quote }}
{{- range $name, $value := .Values.kafka.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "senren.envFrom" -}}
{{- with .Values.kafka.settingsSecret -}}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "senren.container" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
{{- end }}

{{- define "senren.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
terminationGracePeriodSeconds: 30
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
