{{/* Labels of all objects: { root, component } */}}
{{- define "mirror.labels" -}}
{{ include "mirror.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "mirror.selector" -}}
app.kubernetes.io/name: mirror
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The release's name begins all names. */}}
{{- define "mirror.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "mirror.claim" -}}
{{ .Values.volume.existingClaim | default (printf "%s-data" (include "mirror.name" .)) }}
{{- end }}

{{/* The component that the service reaches. */}}
{{- define "mirror.server" -}}
{{ ternary "replica" "builder" .Values.replicas.enabled }}
{{- end }}

{{/* Whether pods of a component mount the volume: { root, component } */}}
{{- define "mirror.mounts" -}}
{{- if or (ne .component "replica") (not .root.Values.config.bucket) }}yes{{ end }}
{{- end }}

{{/* Metadata and specification of a pod: { root, component, command, readOnly, resources, job } */}}
{{- define "mirror.pod" -}}
metadata:
  labels: {{- include "mirror.labels" . | nindent 4 }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if .job }}
  restartPolicy: Never
  {{- else }}
  # Longer than `serve.notice`, in which the pod leaves its service, and `serve.drain` together.
  terminationGracePeriodSeconds: 40
  {{- end }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .job (ne .root.Values.volume.accessMode "ReadWriteMany") }}
  # The volume is mounted on the builder's node only.
  affinity:
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "mirror.selector" (dict "root" .root "component" "builder") | nindent 14 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: mirror
      image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{- toYaml .command | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      resources: {{- toYaml .resources | nindent 8 }}
      {{- if not .job }}
      ports:
        - { name: http, containerPort: 8080 }
      # Until something is published, the pod is alive but not ready.
      livenessProbe:
        httpGet: { path: /-/healthz, port: http }
        periodSeconds: 20
        timeoutSeconds: 5
      readinessProbe:
        httpGet: { path: /-/readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 5
      {{- end }}
      volumeMounts:
        - { name: config, mountPath: /etc/mirror, readOnly: true }
        {{- range $name, $secret := .root.Values.secrets }}
        - { name: {{ printf "secret-%s" $name }}, mountPath: {{ printf "/run/secrets/%s" $name }}, readOnly: true }
        {{- end }}
        {{- if include "mirror.mounts" . }}
        - { name: data, mountPath: /data{{ if .readOnly }}, readOnly: true{{ end }} }
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "mirror.name" .root }} }
    {{- range $name, $secret := .root.Values.secrets }}
    - name: {{ printf "secret-%s" $name }}
      secret: { secretName: {{ $secret }} }
    {{- end }}
    {{- if include "mirror.mounts" . }}
    - name: data
      persistentVolumeClaim: { claimName: {{ include "mirror.claim" .root }} }
    {{- end }}
{{- end }}
